"""Lines of the pods' logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qlora_trainer import log
from qlora_trainer.paths import ROOT_VARIABLE
from unit.trainer.pods import Gang


def test_each_line_names_the_job_of_the_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = Gang(tmp_path).new_pods()[0]
    monkeypatch.setenv(ROOT_VARIABLE, str(pod.root))
    log.event("step", step=3)
    with log.phase("load_model", rank=0):
        pass
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["namespace"], line["job"]) for line in lines] == [
        ("step", "default", "job"),
        ("phase", "default", "job"),
    ]
    assert lines[0]["step"] == 3


def test_a_pod_whose_job_file_is_missing_still_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    log.event("ended", reason="TrainerFailed")
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["reason"], "job" in line) == ("ended", "TrainerFailed", False)


def test_every_line_of_a_container_carries_them(tmp_path: Path) -> None:
    pod = Gang(tmp_path).new_pods()[0]
    assert pod.start().wait(60) == 1, "nothing was fetched"
    lines = [json.loads(line) for line in pod.log().splitlines()]
    assert lines
    assert {(line["namespace"], line["job"]) for line in lines} == {("default", "job")}
