"""What a job leaves on this machine: its state as a QLoRAJob with status, and a folder for each attempt's pods."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qlora_api.status import QLoRAJobStatus
from qlora_cli.check.refused import Refused
from qlora_trainer.files import read_json, write_json

Body = dict[str, Any]


class WorkFolder:
    """One job's folder, which one command at a time may use."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self._job = self.root / "job.json"
        self.lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        """Held by this command, and inherited by its pods: nobody begins before the last of them has ended."""
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused([f"{self.root} is in use by another qlora run, or its pods; wait until it ends"]) from error

    def read(self) -> Body | None:
        """The job as the last command has left it, or None."""
        return read_json(self._job)

    def write(self, body: Body, uid: str, status: QLoRAJobStatus) -> None:
        """Keeps the job."""
        metadata = {**body.get("metadata", {}), "uid": uid}
        write_json(self._job, {**body, "metadata": metadata, "status": status.to_json()})

    def pod(self, attempt: int, completion_index: int) -> Path:
        """The root of a pod."""
        return self.root / f"attempt-{attempt}" / f"pod-{completion_index}"

    def remove_attempts(self) -> None:
        """Removes what the pods of all attempts have left: their logs."""
        for attempt in self.root.glob("attempt-[0-9]*"):
            shutil.rmtree(attempt)

    def mount(self, volumes: Mapping[str, Path]) -> None:
        """Makes a link for each claim, where the pods look for it."""
        self.volumes.mkdir(exist_ok=True)
        for link in self.volumes.iterdir():
            link.unlink()
        for claim, folder in volumes.items():
            (self.volumes / claim).symlink_to(folder)

    @property
    def volumes(self) -> Path:
        """Folder of the claims."""
        return self.root / "volumes"

    def downloads(self, kind: str) -> Path:
        """Where a model or a dataset from the hub stays, so that the next attempt finds it."""
        folder = self.root / "hub" / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def new_uid() -> str:
    """A UID as the API server would give it."""
    return str(uuid.uuid4())
