"""Results in object storage: `attempt.json` says whose prefix it is, which checkpoints count, whether it is finished.

The trainer works in a folder of its pod, as it does on a volume. What is to outlive the pod is uploaded, and counts
from the moment that `attempt.json` names it. That object only changes by compare-and-swap, so once a newer attempt has
taken it, an older one can publish nothing more: there is no time between a look and a write, as there is on a volume.
Each attempt uploads its checkpoints below names of its own (`checkpoints/step-N.<attempt>.<turn>`), so that it cannot
overwrite those of another either. Only `adapter/` has one name for all; an attempt writes there after it has swapped
`attempt.json` once more.

What another job has left is moved to `previous/<its UID>/`, nothing of it is deleted.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from qlora_api import sources
from qlora_api.base import ApiModel
from qlora_api.reasons import Reason
from qlora_api.spec import ObjectStorageSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.object_storage.bucket import open_bucket
from qlora_trainer.object_storage.download import download, list_files
from qlora_trainer.object_storage.fault import explain_output
from qlora_trainer.object_storage.register import Register
from qlora_trainer.object_storage.upload import ChangedFiles, keys_below, remove_below, upload_folder
from qlora_trainer.rank.chart import CHART
from qlora_trainer.rank.checkpoint import checkpoint_of, newest_checkpoint
from qlora_trainer.rank.claim import OWNED, Claim
from qlora_trainer.rank.history import FILE as HISTORY
from qlora_trainer.rank.journal import EVALUATIONS, SAMPLES, STEPS
from qlora_trainer.rank.output import ADAPTER, MERGED
from qlora_trainer.rank.provenance import PROVENANCE
from qlora_trainer.rank.tensorboard import FOLDER as TENSORBOARD

_FIGURES = (STEPS, EVALUATIONS, SAMPLES, CHART, HISTORY)
_TRIES = 10
"""Times that two attempts may come between each other before one gives up."""


class Saved(ApiModel):
    """A checkpoint that counts."""

    step: int
    prefix: str
    """Below the destination."""


class Record(ApiModel):
    """Content of `attempt.json`."""

    uid: str
    attempt: int
    turn: int
    writer: str
    """Random, so that no two processes ever write the same."""
    previous: str | None = None
    """UID of another job whose results are still to be moved away."""
    checkpoints: tuple[Saved, ...] = ()
    """Newest first."""
    finished: bool = False
    """Whether `adapter/` is whole."""


class BucketClaim(Claim):
    """The right of one attempt to publish below a prefix.

    Args:
        output: folder of this pod that mirrors the prefix.
        uid: UID of the job.
        attempt: of the job.
        destination: `s3://bucket/prefix`.
        storage: the store.
        keep: checkpoints that are kept.
    """

    def __init__(
        self, output: Path, uid: str, attempt: int, destination: str, storage: ObjectStorageSpec | None, keep: int
    ) -> None:
        super().__init__(output, uid, attempt)
        location = sources.parse(destination)
        self._destination = destination
        self._keep = keep
        self._prefix = location.path
        self._bucket = open_bucket(location.root, storage)
        self._figures = ChangedFiles(self._bucket, output, self._prefix)
        self._register = Register(self._bucket, f"{self._prefix}/attempt.json")
        self._record = Record(uid=uid, attempt=attempt, turn=0, writer=uuid.uuid4().hex)

    def take(self) -> None:
        """Claims the prefix, and brings what is needed to go on: newest whole checkpoint, log, adapter if it is there.

        Only rank 0 calls it.

        Raises:
            TrainerError: a newer attempt has it, or the store is at fault.
        """
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir(parents=True)
        with self._told():
            self._claim()
            if self._record.previous is not None:
                self._archive_prefix(self._record.previous)
                self._swap(self._record.model_copy(update={"previous": None}))
            self._remove_orphans()
            self._bring_newest()
            for name in _FIGURES:
                self._download(name, self.output)
            self._download(TENSORBOARD, self.output / TENSORBOARD)
            if self._record.finished:
                self._download(ADAPTER, self.output / ADAPTER)
                self._download(f"{MERGED}/{PROVENANCE}", self.output / MERGED)  # whether there is one

    def check(self) -> None:
        """Nothing to look at: what an older attempt writes from here on does not count."""

    def bring(self, step: int) -> None:
        """Downloads the checkpoint of a step into the folder of this pod, if it has none. One rank of a pod calls it.

        Raises:
            TrainerError: another attempt has taken over, or the store is at fault.
        """
        checkpoints = self.output / "checkpoints"
        if checkpoint_of(checkpoints, step, self.uid) is not None:
            return
        folder = checkpoints / f"step-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        with self._told():
            record = _decode(self._register.peek())
            saved = [saved for saved in record.checkpoints if saved.step == step] if record else []
            if not saved:
                raise self._lost()
            self._download(saved[0].prefix, folder)
        if checkpoint_of(checkpoints, step, self.uid) is None:
            raise TrainerError(Reason.TRAINER_FAILED, f"{saved[0].prefix} was damaged on its way to this pod")

    def publish_checkpoint(self, folder: Path, best_step: int | None) -> None:
        """Uploads a checkpoint and lets it count; then removes those that no longer do. That of the best step does.

        Raises:
            TrainerError: another attempt has taken over, or the store is at fault.
        """
        step = int(folder.name.removeprefix("step-"))
        prefix = f"checkpoints/{folder.name}.{self.attempt}.{self._record.turn}"
        with self._told():
            upload_folder(self._bucket, folder, f"{self._prefix}/{prefix}", last="manifest.json")
            older = (saved for saved in self._record.checkpoints if saved.step < step)
            all_of_them = (Saved(step=step, prefix=prefix), *older)
            best = (saved for saved in all_of_them[self._keep :] if saved.step == best_step)
            kept = (*all_of_them[: self._keep], *best)
            dropped = [saved for saved in self._record.checkpoints if saved not in kept]
            self._swap(self._record.model_copy(update={"checkpoints": kept}))
            self._upload_figures()
            for saved in dropped:
                remove_below(self._bucket, f"{self._prefix}/{saved.prefix}")

    def publish_adapter(self) -> None:
        """Uploads adapter and log, then says that the job is finished.

        Raises:
            TrainerError: another attempt has taken over, or the store is at fault.
        """
        with self._told():
            self._upload_result(ADAPTER)
            self._upload_figures()
            self._swap(self._record.model_copy(update={"finished": True}))

    def publish_merged(self) -> None:
        """Uploads the merged model.

        Raises:
            TrainerError: another attempt has taken over, or the store is at fault.
        """
        with self._told():
            self._upload_result(MERGED)

    def _upload_result(self, name: str) -> None:
        """Uploads a folder whose name all attempts share, once it is sure that this one may."""
        self._swap(self._record)
        upload_folder(self._bucket, self.output / name, f"{self._prefix}/{name}", last=PROVENANCE)

    def _claim(self) -> None:
        for _ in range(_TRIES):
            found = _decode(self._register.read())
            if found is None:
                begun = self._record.model_copy(update={"turn": 1})
            elif found.uid == self.uid:
                self._refuse_newer({"attempt": found.attempt})
                turn = found.turn + 1 if found.attempt == self.attempt else 1
                begun = found.model_copy(update={"attempt": self.attempt, "turn": turn, "writer": self._record.writer})
            else:
                begun = self._record.model_copy(update={"turn": 1, "previous": found.uid})
            if self._register.swap(_encode(begun)):
                self._record = begun
                return
        raise self._lost()

    def _lost(self) -> TrainerError:
        """Says who has the prefix now."""
        owner = _decode(self._register.peek())
        if owner is None or owner.uid != self.uid:
            by = "nobody" if owner is None else f"another job (UID {owner.uid})"
            return TrainerError(
                Reason.OUTPUT_NOT_WRITABLE,
                f"output.destination {self._destination}: now belongs to {by}; give each job a prefix of its own",
            )
        who = f"attempt {owner.attempt}" if owner.attempt != self.attempt else f"new pods of attempt {self.attempt}"
        return TrainerError(Reason.STOPPED, f"{who} of this job has taken over; these pods write no more")

    def _swap(self, record: Record) -> None:
        if not self._register.swap(_encode(record)):
            raise self._lost()
        self._record = record

    def _archive_prefix(self, uid: str) -> None:
        """Moves what another job has left. A key is looked at just before, as it may be our own next attempt's."""
        import obstore

        for name in (name for name in OWNED if name != "attempt.json"):
            for key in self._keys(name):
                self._swap(self._record)
                target = key.replace(f"{self._prefix}/", f"{self._prefix}/previous/{Path(uid).name}/", 1)
                obstore.rename(self._bucket, key, target)

    def _keys(self, name: str) -> list[str]:
        return [file.key for file in list_files(self._bucket, f"{self._prefix}/{name}")]

    def _remove_orphans(self) -> None:
        """Removes what older writers have uploaded and never published; they cannot publish it any more."""
        counted = {saved.prefix for saved in self._record.checkpoints}
        found = {
            "/".join(key.removeprefix(f"{self._prefix}/").split("/")[:2])
            for key in keys_below(self._bucket, f"{self._prefix}/checkpoints")
        }
        for prefix in sorted(found - counted):
            if _writer(prefix) < (self.attempt, self._record.turn):
                remove_below(self._bucket, f"{self._prefix}/{prefix}")

    def _bring_newest(self) -> None:
        """Downloads the newest checkpoint; one that is damaged is passed over for the one before."""
        checkpoints = self.output / "checkpoints"
        for saved in self._record.checkpoints:
            folder = checkpoints / f"step-{saved.step}"
            self._download(saved.prefix, folder)
            if newest_checkpoint(checkpoints, self.uid) is not None:
                return
            log.event("damaged", checkpoint=saved.prefix)
            shutil.rmtree(folder, ignore_errors=True)

    def _download(self, name: str, folder: Path) -> None:
        files = list_files(self._bucket, f"{self._prefix}/{name}")
        if files:
            download(self._bucket, files, folder)

    def _upload_figures(self) -> None:
        """Log, evaluations, samples, chart, starts and event files, as far as there are any."""
        self._figures.upload([self.output / name for name in _FIGURES])
        self._figures.upload((self.output / TENSORBOARD).rglob("*"))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tells the store's errors by reason."""
        try:
            yield
        except TrainerError:
            raise
        except Exception as error:
            raise explain_output(error, self._destination) from error


def _writer(prefix: str) -> tuple[int, int]:
    """Attempt and turn that have uploaded `checkpoints/step-N.<attempt>.<turn>`; anything else came before all."""
    numbers = prefix.split(".")[-2:]
    return (int(numbers[0]), int(numbers[1])) if all(number.isdecimal() for number in numbers) else (0, 0)


def _encode(record: Record) -> bytes:
    return (json.dumps(record.to_json(), indent=2) + "\n").encode()


def _decode(content: bytes | None) -> Record | None:
    """What `attempt.json` says; a file that is not ours belongs to an unknown job."""
    if content is None:
        return None
    try:
        return Record.model_validate_json(content)
    except ValidationError:
        return Record(uid="unknown", attempt=1, turn=1, writer="")
