"""Servers that are told of a training."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank import background
from qlora_trainer.rank.background import InBackground
from qlora_trainer.rank.journal import Line, Reporter
from qlora_trainer.rank.trackers import figures, flat, trackers
from unit.trainer.pods import Gang

SERVERS = {
    "mlflow": {"trackingUri": "http://127.0.0.1:1"},
    "wandb": {"project": "chat", "tokenSecret": "wandb"},
}


@pytest.mark.parametrize(("server", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
def test_a_job_that_asks_for_a_library_that_is_missing_is_refused_at_once(
    gang: Gang, server: str, package: str
) -> None:
    (pod,) = gang.new_pods(reporting={server: SERVERS[server]}, model={"source": "pvc://models/none"})
    sentence = rf"reporting\.{server}: this trainer image has no {server}; add the Python package {package} to"
    with pytest.raises(TrainerError, match=sentence) as error:
        fetch(pod.job, PodPaths(pod.root))
    assert error.value.reason == Reason.USER_ERROR


def test_a_job_reports_to_nobody_unless_it_says_so(gang: Gang) -> None:
    (pod,) = gang.new_pods()
    assert trackers(pod.job, gang.folder) == []


class Told(Reporter):
    def __init__(self, gate: threading.Event | None = None) -> None:
        self.lines: list[Any] = []
        self.gate = gate

    def step(self, line: Line) -> None:
        if self.gate is not None:
            self.gate.wait(10)
        if line["step"] == 2:
            raise ConnectionError("no answer")
        self.lines.append(line["step"])

    def evaluation(self, line: Line) -> None:
        self.lines.append(("evaluation", line["step"]))

    def close(self) -> None:
        self.lines.append("closed")


def test_a_server_that_is_slow_holds_up_no_step_and_is_told_everything_at_the_end() -> None:
    gate = threading.Event()
    told = Told(gate)
    reporter = InBackground("server", lambda: told)
    begin = time.monotonic()
    reporter.step({"step": 1})
    reporter.evaluation({"step": 1})
    assert time.monotonic() - begin < 5
    assert told.lines == []
    gate.set()
    reporter.close()
    assert told.lines == [1, ("evaluation", 1), "closed"]


def test_a_server_that_fails_is_told_the_next_line_and_the_log_why(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told()
    reporter = InBackground("server", lambda: told)
    for step in (1, 2, 3):
        reporter.step({"step": step})
    reporter.close()
    assert told.lines == [1, 3, "closed"]
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["to"], event["error"]) == ("not_reported", "server", "ConnectionError: no answer")


def test_a_server_that_is_not_there_ends_no_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect() -> Reporter:
        raise ConnectionError("refused")

    monkeypatch.setattr(background, "CLOSE_SECONDS", 1.0)
    reporter = InBackground("server", connect)
    for step in range(background.WAITING + 1):
        reporter.step({"step": step})
    reporter.close()
    assert "ConnectionError: refused" in capsys.readouterr().out


def test_figures_are_the_numbers_of_a_line_and_parameters_the_fields_of_the_job() -> None:
    assert figures({"step": 3, "of": 9, "loss": 1, "best_step": 2}) == {"loss": 1.0, "best_step": 2.0}
    assert flat({"training": {"epochs": 3}, "nodes": 2}) == {"training.epochs": 3, "nodes": 2}
