"""When a checkpoint is due, and what happens while one is written."""

from __future__ import annotations

import threading
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from qlora_trainer.errors import TrainerError
from qlora_trainer.rank import saver as saver_module
from qlora_trainer.rank.checkpoint import checkpoint_of, newest_checkpoint
from qlora_trainer.rank.claim import Claim
from qlora_trainer.rank.saver import Saver
from qlora_trainer.rank.standing import Standing

FACTS = {"uid": "uid", "attempt": 1}


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    monkeypatch.setattr(saver_module, "gather_state", lambda _: {"parameter/a": torch.ones(2)})
    monkeypatch.setattr(saver_module.comm, "barrier", lambda: None)
    claim = Claim(tmp_path, "uid", 1)
    claim.take()
    return claim


def make(claim: Claim, rank: int = 0, every: float = 0.0) -> tuple[Saver, MagicMock]:
    progress = MagicMock()
    return Saver(claim, rank, every, 2, FACTS, progress), progress


def test_rank_0_decides_by_the_clock(claim: Claim) -> None:
    assert make(claim, every=0)[0].is_due
    assert not make(claim, every=3600)[0].is_due
    assert not make(claim, rank=1, every=0)[0].is_due


def test_an_attempt_that_is_followed_by_another_stops_between_its_checkpoints(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "CHECK_SECONDS", 0.0)
    saver, _ = make(claim, every=3600)
    assert not saver.is_due
    Claim(claim.output, "uid", 2).take()
    with pytest.raises(TrainerError, match="attempt 2"):
        _ = saver.is_due


def test_a_saved_step_is_on_disk_and_told_after_the_wait(claim: Claim) -> None:
    saver, progress = make(claim)
    saver.save(None, 4, loss=0.5)
    saver.wait()
    checkpoint = newest_checkpoint(claim.output / "checkpoints", "uid")
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.facts["loss"]) == (4, 0.5)
    progress.checkpoint.assert_called_once_with(4)


def test_a_checkpoint_has_the_standing_of_its_own_step(claim: Claim) -> None:
    standings = [Standing(4, 2.0, 4, 2.0, 2.0, 0), Standing(8, 3.0, 4, 2.0, 2.0, 1)]
    saver = Saver(claim, 0, 3600, 1, FACTS, MagicMock(), standing=lambda: standings[0])
    saver.save(None, 4, loss=0.5)
    del standings[0]
    saver.save(None, 9, loss=0.5)
    saver.wait()
    checkpoints = claim.output / "checkpoints"
    for step, waited in ((4, 0), (9, 1)):
        found = checkpoint_of(checkpoints, step, "uid")
        assert found is not None
        assert Standing.from_json(found.facts["standing"]).waited == waited


def test_training_goes_on_while_one_is_written(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(saver_module, "write_checkpoint", lambda *_: release.wait(10))
    saver, _ = make(claim)
    saver.save(None, 1, loss=0.5)
    assert not saver.is_due
    release.set()
    saver.wait()
    assert saver.is_due


def test_the_other_ranks_write_nothing(claim: Claim) -> None:
    saver, _ = make(claim, rank=1)
    saver.save(None, 1, loss=0.5)
    saver.wait()
    assert not (claim.output / "checkpoints").exists()


def test_a_disk_that_is_full_ends_the_run_at_the_next_look(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver_module, "write_checkpoint", MagicMock(side_effect=OSError(28, "No space left")))
    saver, _ = make(claim)
    saver.save(None, 1, loss=0.5)
    with pytest.raises(OSError, match="No space left"):
        saver.wait()


def test_nothing_is_written_once_a_newer_attempt_has_the_folder(claim: Claim) -> None:
    Claim(claim.output, "uid", 2).take()
    saver, _ = make(claim)
    saver.save(None, 1, loss=0.5)
    with pytest.raises(TrainerError, match="attempt 2 of this job has taken over"):
        saver.wait()
    assert not (claim.output / "checkpoints").exists()
