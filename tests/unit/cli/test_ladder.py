"""`qlora run` goes on with less at once after a GPU ran out of memory, and knows it in the next command too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from qlora_api.portion import Portion
from qlora_api.report import Termination
from qlora_cli import run as command
from qlora_cli.attempt import Ended
from qlora_cli.pod import Pod
from unit.trainer.pods import spec

HALVES = {"globalBatchSize": 4, "microBatchSize": 4, "onGPUOutOfMemory": "halve-micro-batch"}


class SmallMachine:
    """Attempts that end at once: well, if they hold no more sequences than there is room for."""

    def __init__(self, root: Path, room: int) -> None:
        self.root, self.room = root, room
        self.held: list[Portion | None] = []
        for name in ("models", "data", "results"):
            (root / name).mkdir()
        body = {"apiVersion": "qlora.dev/v1alpha1", "kind": "QLoRAJob", "metadata": {"name": "job"}}
        job = spec(training=HALVES, runPolicy={"maxRestarts": 0})
        (root / "job.yaml").write_text(yaml.safe_dump({**body, "spec": job}))

    def attempt(self, pods: Sequence[Pod], *_: Any) -> Ended:
        job = json.loads(pods[0].paths.job_file.read_bytes())
        portion = Portion.model_validate(job["portion"]) if "portion" in job else None
        self.held.append(portion)
        size = portion.micro_batch_size if portion else 4
        failed = {"outcome": "Failed", "reason": "GPUOutOfMemory", "message": "CUDA out of memory"}
        told = {"micro_batch_size": size, "gradient_checkpointing": True}
        words = {"outcome": "Succeeded"} if size <= self.room else {**failed, **told}
        return Ended(Termination.model_validate(words), pods[0], 0, None)

    def run(self) -> int:
        volumes = {name: self.root / name for name in ("models", "data", "results")}
        return command.run(self.root / "job.yaml", volumes, None, False)

    @property
    def state(self) -> Any:
        return json.loads((self.root / ".qlora/job/job.json").read_text())["status"]


def machine(root: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> SmallMachine:
    made = SmallMachine(root, room)
    monkeypatch.setattr(command, "run_attempt", made.attempt)
    monkeypatch.setattr(command, "delay", lambda _: 0.0)
    monkeypatch.setattr(command.Stop, "install", lambda _: None)
    return made


def test_the_micro_batch_is_halved_until_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = machine(tmp_path, 1, monkeypatch)
    assert small.run() == 0
    assert [portion and portion.micro_batch_size for portion in small.held] == [None, 2, 1]
    assert "GPU out of memory with micro-batch 4; goes on with 2" in capsys.readouterr().out
    assert small.state["attempts"][1]["message"] == "GPU out of memory with micro-batch 2; goes on with 1"


def test_with_nothing_smaller_left_it_fails_and_the_next_command_begins_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = machine(tmp_path, 0, monkeypatch)
    monkeypatch.setattr("qlora_cli.work_folder.fcntl.flock", lambda *_: None)  # both commands are this process
    assert small.run() == 1
    assert small.state["attempts"][-1]["message"] == "CUDA out of memory"
    small.held.clear()
    small.room = 1
    assert small.run() == 0
    assert [portion and portion.micro_batch_size for portion in small.held] == [1]
