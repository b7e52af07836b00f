"""Whose output folder it is: `attempt.json` holds the job's UID and the attempt that may write.

A pod of an older attempt can outlive its node's contact with the cluster. Before each write it looks whether a newer
attempt has claimed the folder, and stops then. The look and the write are two steps: an old pod that is cut off exactly
between them can still publish one folder, which is complete and has its own step in its name.

The folder of another job is not resumed. What that job left is moved to `previous/<its UID>/`, nothing is deleted.
"""

from __future__ import annotations

from pathlib import Path

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.files import read_json, write_json

_FILE = "attempt.json"
OWNED = ("adapter", "checkpoints", "log.jsonl", _FILE)
"""What this trainer writes into an output folder."""


class Claim:
    """The right of one attempt to write into an output folder."""

    def __init__(self, output: Path, uid: str, attempt: int) -> None:
        self.output = output
        self.uid = uid
        self.attempt = attempt

    def take(self) -> None:
        """Claims the folder. Only rank 0 calls it.

        Raises:
            TrainerError: a newer attempt has it.
        """
        owner = read_json(self.output / _FILE) or {}
        if owner.get("uid") == self.uid:
            self._refuse_newer(owner)
        else:
            self._archive(str(owner.get("uid", "unknown")))
        write_json(self.output / _FILE, {"uid": self.uid, "attempt": self.attempt})

    def check(self) -> None:
        """Looks whether the folder is still ours.

        Raises:
            TrainerError: another attempt, or another job, has claimed it.
        """
        owner = read_json(self.output / _FILE) or {}
        if owner.get("uid") != self.uid:
            raise TrainerError(
                Reason.OUTPUT_NOT_WRITABLE,
                f"output.destination: another job (UID {owner.get('uid')}) has taken over {self.output}; "
                "give each job a folder of its own",
            )
        self._refuse_newer(owner)

    def _refuse_newer(self, owner: dict[str, object]) -> None:
        newest = owner.get("attempt")
        if isinstance(newest, int) and newest > self.attempt:
            raise TrainerError(
                Reason.STOPPED, f"attempt {newest} of this job has taken over; attempt {self.attempt} writes no more"
            )

    def _archive(self, uid: str) -> None:
        left = [name for name in OWNED if (self.output / name).exists()]
        archive = self.output / "previous" / Path(uid).name
        for name in left:
            archive.mkdir(parents=True, exist_ok=True)
            target, number = archive / name, 1
            while target.exists():
                target, number = archive / f"{name}.{number}", number + 1
            (self.output / name).rename(target)
