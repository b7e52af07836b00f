"""Checkpoints on disk: `checkpoints/step-N/` with safetensors, JSON and, as the last file, a manifest of digests.

A folder appears by one rename, and is believed only if every digest fits; so a torn one is passed over for the one
before. Never pickle. Learning rate, data order and random numbers are functions of seed and step (see schedule.py,
batches.py, loop.py), so the step is all there is to say about them.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save_file

from qlora_trainer.files import new_folder, read_json, write_json
from qlora_trainer.rank.state import State

_TENSORS = "state.safetensors"
_FACTS = "state.json"
_MANIFEST = "manifest.json"


class Checkpoint(NamedTuple):
    """A complete checkpoint."""

    folder: Path
    step: int
    """Optimizer steps done."""
    facts: dict[str, Any]
    """What `write_checkpoint` was given."""

    def load(self) -> State:
        """The tensors."""
        return load_file(self.folder / _TENSORS)


def write_checkpoint(
    checkpoints: Path, step: int, state: State, facts: dict[str, Any], keep: int, best_step: int | None = None
) -> Path:
    """Writes `step-N` and removes all but the `keep` newest up to it, and the one of the best step.

    Later steps that lie there are not counted: training went back behind them, so they must be damaged. They go too.

    Raises:
        OSError: the disk is full, for example; then nothing of the new checkpoint is left.
    """
    target = checkpoints / f"step-{step}"
    with new_folder(target) as folder:
        save_file(state, folder / _TENSORS)
        write_json(folder / _FACTS, {**facts, "step": step})
        digests = {name: _sha256(folder / name) for name in (_TENSORS, _FACTS)}
        write_json(folder / _MANIFEST, {"uid": facts["uid"], "attempt": facts["attempt"], "sha256": digests})
    older = [folder for number, folder in _folders(checkpoints) if number <= step]
    later = [folder for number, folder in _folders(checkpoints) if number > step]
    best = checkpoints / f"step-{best_step}"
    for folder in [*later, *older[keep:]]:
        if folder != best:
            shutil.rmtree(folder, ignore_errors=True)
    return target


def newest_checkpoint(checkpoints: Path, uid: str) -> Checkpoint | None:
    """The newest complete checkpoint of the job, or None."""
    found = (checkpoint_of(checkpoints, step, uid) for step, _ in _folders(checkpoints))
    return next((checkpoint for checkpoint in found if checkpoint is not None), None)


def checkpoint_of(checkpoints: Path, step: int, uid: str) -> Checkpoint | None:
    """The checkpoint of a step, or None if it is not there, not complete, or another job's."""
    folder = checkpoints / f"step-{step}"
    manifest, facts = read_json(folder / _MANIFEST) or {}, read_json(folder / _FACTS)
    if facts is None or manifest.get("uid") != uid or not _is_whole(folder, manifest.get("sha256")):
        return None
    return Checkpoint(folder, step, facts)


def remove_unfinished(checkpoints: Path) -> None:
    """Removes what writers that were killed have left. Only who has claimed the output folder may call it."""
    for folder in checkpoints.glob(".step-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _folders(checkpoints: Path) -> list[tuple[int, Path]]:
    """(step, folder) of what looks like a checkpoint, the newest first."""
    found = [
        (int(folder.name.removeprefix("step-")), folder)
        for folder in checkpoints.glob("step-*")
        if folder.name.removeprefix("step-").isdigit()
    ]
    return sorted(found, reverse=True)


def _is_whole(folder: Path, digests: Any) -> bool:
    if not isinstance(digests, dict) or _TENSORS not in digests:
        return False
    try:
        return all(_sha256(folder / Path(name).name) == digest for name, digest in digests.items())
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
