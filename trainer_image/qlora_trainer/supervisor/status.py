"""What the pod says of itself: the supervisor's state, the newest figures of its first rank, the restarts in place."""

from __future__ import annotations

import time
from typing import Literal

from qlora_api.job_file import JobFile
from qlora_api.report import PROGRESS_LIMIT, RESTARTS_TOLD, Progress, Restart
from qlora_trainer.paths import PodPaths
from qlora_trainer.supervisor.memory import ranks_resident_bytes

State = Literal["Waiting", "Launching", "Training", "Restarting", "Stopping", "Succeeded", "Failed"]


class Status:
    """Read by the server's threads, written by the supervisor."""

    def __init__(self, job: JobFile, paths: PodPaths) -> None:
        self._job = job
        self._file = paths.progress
        self._since = time.time()
        self._state: State = "Waiting"
        self._last: Progress | None = None
        self._from_step: int | None = None
        self._restarts: list[Restart] = []

    @property
    def state(self) -> State:
        """What the supervisor is doing."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self._since = time.time()

    @property
    def from_step(self) -> int | None:
        """Step at which the attempt began, once that is known."""
        return self._from_step

    @property
    def restart_reasons(self) -> list[str]:
        """Why the newest restarts in place were made."""
        return [restart.reason for restart in self._restarts[-RESTARTS_TOLD:]]

    def restarted(self, restart: Restart) -> None:
        """Remembers a restart in place. No rank lives at this moment: what the last ones wrote is not of the next."""
        self.figures()
        self._file.unlink(missing_ok=True)
        self._restarts.append(restart)

    def progress(self) -> Progress:
        """What `/status` shows: the figures, and the memory of the pod's ranks."""
        return self.figures().model_copy(update={"resident_memory_bytes": ranks_resident_bytes()})

    def figures(self) -> Progress:
        """The ranks' figures, with what the supervisor knows better."""
        told = self._told()
        if told is not None:
            self._remember(told)
        shown = told or self._last
        restarts = self._restarts[-RESTARTS_TOLD:]
        if shown is None:
            return Progress(
                uid=self._job.uid,
                attempt=self._job.attempt,
                state=self.state,
                restarts=restarts,
                updated=self._since,
            )
        state = shown.state if told is not None and self.state == "Launching" else self.state
        return shown.model_copy(update={"state": state, "from_step": self._from_step, "restarts": restarts})

    def _remember(self, told: Progress) -> None:
        """The first figures after a restart tell where it went on."""
        self._last = told
        if self._from_step is None:
            self._from_step = told.from_step
        if self._restarts and self._restarts[-1].from_step is None:
            self._restarts[-1] = self._restarts[-1].model_copy(update={"from_step": told.resumed_step})

    def _told(self) -> Progress | None:
        """What the first rank last wrote; nothing right after a restart."""
        try:
            told = Progress.from_untrusted(self._file.read_bytes(), PROGRESS_LIMIT)
        except OSError:
            return None
        return told if told is not None and told.attempt == self._job.attempt else None
