"""What the pod says of itself: the supervisor's state and the newest figures of its first rank."""

from __future__ import annotations

import time
from typing import Literal

from qlora_api.job_file import JobFile
from qlora_api.report import PROGRESS_LIMIT, Progress
from qlora_trainer.paths import PodPaths

State = Literal["Waiting", "Launching", "Training", "Stopping", "Succeeded", "Failed"]


class Status:
    """Read by the server's threads, written by the supervisor."""

    def __init__(self, job: JobFile, paths: PodPaths) -> None:
        self._job = job
        self._file = paths.progress
        self._since = time.time()
        self._state: State = "Waiting"

    @property
    def state(self) -> State:
        """What the supervisor is doing."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self._since = time.time()

    def progress(self) -> Progress:
        """The figures, with the state that the supervisor knows better than the rank."""
        told = self._told()
        if told is None or told.attempt != self._job.attempt:
            return Progress(uid=self._job.uid, attempt=self._job.attempt, state=self.state, updated=self._since)
        if self.state == "Launching":
            return told
        return told.model_copy(update={"state": self.state})

    def _told(self) -> Progress | None:
        try:
            return Progress.from_untrusted(self._file.read_bytes(), PROGRESS_LIMIT)
        except OSError:
            return None
