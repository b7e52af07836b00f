"""Whose output folder it is: `attempt.json` holds the job's UID, the attempt that may write, and its turn.

A pod of an older attempt can outlive its node's contact with the cluster. Before each write it looks whether a newer
attempt has claimed the folder, and stops then. An attempt that a queue has interrupted goes on with new pods under its
old number: each set of pods that begins to train takes another turn, and the newest turn writes. The look and the write
are two steps: an old pod that is cut off exactly between them can still publish one folder, which is complete and has
its own step in its name.

The folder of another job is not resumed. What that job left is moved to `previous/<its UID>/`, nothing is deleted.
"""

from __future__ import annotations

from pathlib import Path

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.files import read_json, write_json
from qlora_trainer.rank.chart import CHART
from qlora_trainer.rank.history import FILE as HISTORY
from qlora_trainer.rank.journal import EVALUATIONS, SAMPLES, STEPS
from qlora_trainer.rank.tensorboard import FOLDER as TENSORBOARD

_FILE = "attempt.json"
OWNED = ("adapter", "merged", "checkpoints", STEPS, EVALUATIONS, SAMPLES, CHART, TENSORBOARD, HISTORY, _FILE)
"""What this trainer writes into an output folder."""


class Claim:
    """The right of one attempt to write into an output folder."""

    def __init__(self, output: Path, uid: str, attempt: int) -> None:
        self.output = output
        self.uid = uid
        self.attempt = attempt
        self._turn = 0

    def take(self) -> None:
        """Claims the folder. Only rank 0 calls it.

        Raises:
            TrainerError: a newer attempt has it.
        """
        owner = read_json(self.output / _FILE) or {}
        before = 0
        if owner.get("uid") == self.uid:
            self._refuse_newer(owner)
            before = _turn(owner) if owner.get("attempt") == self.attempt else 0
        else:
            self._archive(str(owner.get("uid", "unknown")))
        self._turn = before + 1
        write_json(self.output / _FILE, {"uid": self.uid, "attempt": self.attempt, "turn": self._turn})

    def check(self) -> None:
        """Looks whether the folder is still ours.

        Raises:
            TrainerError: another attempt, other pods of this one, or another job, has claimed it.
        """
        owner = read_json(self.output / _FILE) or {}
        if owner.get("uid") != self.uid:
            raise TrainerError(
                Reason.OUTPUT_NOT_WRITABLE,
                f"output.destination: another job (UID {owner.get('uid')}) has taken over {self.output}; "
                "give each job a folder of its own",
            )
        self._refuse_newer(owner)
        if owner.get("attempt") == self.attempt and _turn(owner) > self._turn:
            raise TrainerError(
                Reason.STOPPED, f"new pods of attempt {self.attempt} have taken over; these write no more"
            )

    def bring(self, step: int) -> None:
        """Sees to it that this pod has the checkpoint of a step. On a volume it has."""

    def publish_checkpoint(self, folder: Path, best_step: int | None) -> None:
        """Lets a checkpoint outlive the pod. On a volume it does."""

    def publish_adapter(self) -> None:
        """Lets adapter and log outlive the pod. On a volume they do."""

    def publish_merged(self) -> None:
        """Lets the merged model outlive the pod. On a volume it does."""

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


def _turn(owner: dict[str, object]) -> int:
    turn = owner.get("turn")
    return turn if isinstance(turn, int) else 0
