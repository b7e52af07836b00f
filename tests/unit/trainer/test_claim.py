"""Who may write into an output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.claim import Claim


def test_an_older_attempt_writes_no_more_once_a_newer_one_has_begun(tmp_path: Path) -> None:
    old, new = Claim(tmp_path, "uid", 1), Claim(tmp_path, "uid", 2)
    old.take()
    old.check()
    new.take()
    new.check()
    with pytest.raises(TrainerError, match="attempt 2 of this job has taken over") as error:
        old.check()
    assert error.value.reason == Reason.STOPPED
    with pytest.raises(TrainerError):
        old.take()


def test_pods_of_the_same_attempt_write_no_more_once_new_ones_have_begun(tmp_path: Path) -> None:
    interrupted, resumed = Claim(tmp_path, "uid", 2), Claim(tmp_path, "uid", 2)
    Claim(tmp_path, "uid", 1).take()
    interrupted.take()
    interrupted.check()
    resumed.take()
    resumed.check()
    with pytest.raises(TrainerError, match="new pods of attempt 2 have taken over") as error:
        interrupted.check()
    assert error.value.reason == Reason.STOPPED


def test_a_newer_attempt_finds_the_checkpoints_of_the_older(tmp_path: Path) -> None:
    Claim(tmp_path, "uid", 1).take()
    (tmp_path / "checkpoints").mkdir()
    Claim(tmp_path, "uid", 2).take()
    assert (tmp_path / "checkpoints").is_dir()


def test_another_jobs_results_are_moved_and_not_deleted(tmp_path: Path) -> None:
    Claim(tmp_path, "first", 3).take()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/weights").write_text("precious")
    (tmp_path / "notes.txt").write_text("the user's own")
    Claim(tmp_path, "second", 1).take()
    assert (tmp_path / "previous/first/adapter/weights").read_text() == "precious"
    assert not (tmp_path / "adapter").exists()
    assert (tmp_path / "notes.txt").exists()


def test_an_archive_is_never_overwritten(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "log.jsonl").write_text(content)
        (tmp_path / "attempt.json").unlink(missing_ok=True)
        Claim(tmp_path, "uid", 1).take()
    assert (tmp_path / "previous/unknown/log.jsonl").read_text() == "one"
    assert (tmp_path / "previous/unknown/log.jsonl.1").read_text() == "two"


def test_a_job_whose_folder_was_taken_by_another_stops_writing(tmp_path: Path) -> None:
    mine = Claim(tmp_path, "mine", 1)
    mine.take()
    Claim(tmp_path, "theirs", 1).take()
    with pytest.raises(TrainerError, match="another job") as error:
        mine.check()
    assert error.value.reason == Reason.OUTPUT_NOT_WRITABLE


def test_a_claim_that_cannot_be_read_is_not_taken_for_another_jobs(tmp_path: Path) -> None:
    (tmp_path / "attempt.json").mkdir()
    with pytest.raises(OSError, match=r"attempt\.json"):
        Claim(tmp_path, "uid", 2).take()
    assert (tmp_path / "attempt.json").exists()
