"""Checkpoints on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qlora_trainer.rank.checkpoint import checkpoint_of, newest_checkpoint, remove_unfinished, write_checkpoint


def save(folder: Path, step: int, uid: str = "uid", keep: int = 2, best_step: int | None = None) -> Path:
    state = {"parameter/a": torch.full((2, 3), float(step))}
    return write_checkpoint(folder, step, state, {"uid": uid, "attempt": 1, "loss": 0.5}, keep, best_step)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    save(tmp_path, 7)
    checkpoint = newest_checkpoint(tmp_path, "uid")
    assert checkpoint is not None
    assert checkpoint.step == 7
    assert checkpoint.facts == {"uid": "uid", "attempt": 1, "loss": 0.5, "step": 7}
    assert torch.equal(checkpoint.load()["parameter/a"], torch.full((2, 3), 7.0))


def test_the_newest_are_kept_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 11):
        save(tmp_path, step)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["step-10", "step-11"]


def test_the_best_one_is_kept_besides_the_newest_until_another_is_better(tmp_path: Path) -> None:
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 1)):
        save(tmp_path, step, best_step=best)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["step-1", "step-3", "step-4"]
    save(tmp_path, 5, best_step=5)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["step-4", "step-5"]


def test_the_checkpoint_of_a_step_is_believed_only_if_it_is_whole(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "state.safetensors").write_bytes(b"torn")
    found = checkpoint_of(tmp_path, 1, "uid")
    assert found is not None
    assert found.step == 1
    assert checkpoint_of(tmp_path, 2, "uid") is None
    assert checkpoint_of(tmp_path, 3, "uid") is None
    assert checkpoint_of(tmp_path, 1, "other") is None


@pytest.mark.parametrize("torn", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "cut", "changed"])
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, torn: str, how: str) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2) / torn
    content = file.read_bytes()
    file.unlink()
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "changed" and torn != "manifest.json":
        file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    checkpoint = newest_checkpoint(tmp_path, "uid")
    assert checkpoint is not None
    assert checkpoint.step == 1


def test_another_jobs_checkpoint_is_not_resumed(tmp_path: Path) -> None:
    save(tmp_path, 3, uid="other")
    assert newest_checkpoint(tmp_path, "uid") is None


def test_a_crash_while_writing_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save(tmp_path, 1)
    monkeypatch.setattr("qlora_trainer.rank.checkpoint.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-1"]


def test_what_a_killed_writer_has_left_is_removed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".step-2.abc").mkdir()
    (tmp_path / ".step-2.abc" / "state.safetensors").write_bytes(b"half")
    remove_unfinished(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-1"]


def test_a_step_that_is_done_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    file = save(tmp_path, 5) / "state.safetensors"
    file.write_bytes(b"torn")
    save(tmp_path, 5)
    assert newest_checkpoint(tmp_path, "uid") is not None
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-5"]


def test_what_lies_beyond_a_new_checkpoint_is_damaged_and_goes(tmp_path: Path) -> None:
    (save(tmp_path, 9) / "state.safetensors").write_bytes(b"torn")
    save(tmp_path, 3, keep=1)
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-3"]
    checkpoint = newest_checkpoint(tmp_path, "uid")
    assert checkpoint is not None
    assert checkpoint.step == 3
