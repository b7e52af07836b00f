"""The launcher of each epoch. The next one stands by: its ranks have imported what they need, which takes longest."""

from __future__ import annotations

import signal
import subprocess

from qlora_api.job_file import JobFile
from qlora_trainer import log
from qlora_trainer.files import replace_text
from qlora_trainer.paths import PodPaths
from qlora_trainer.supervisor.launch import start
from qlora_trainer.supervisor.processes import members, send


class Launches:
    """At most two launchers of one pod: the one whose ranks train, and the next."""

    def __init__(self, job: JobFile, completion_index: int, paths: PodPaths) -> None:
        self._job = job
        self._completion_index = completion_index
        self._paths = paths
        self._standby: tuple[int, subprocess.Popen[bytes]] | None = None

    def begin(self, epoch: int) -> subprocess.Popen[bytes]:
        """Lets the ranks of an epoch go, and returns their launcher."""
        standby, self._standby = self._standby, None
        stands_by = standby is not None and standby[0] == epoch and standby[1].poll() is None
        launcher = standby[1] if standby is not None and stands_by else self._start(epoch)
        self._paths.progress.unlink(missing_ok=True)
        replace_text(self._paths.epoch, str(epoch))
        log.event("launched", restarts=epoch, stood_by=stands_by, world_size=self._job.world_size, pid=launcher.pid)
        return launcher

    def stand_by(self, epoch: int) -> None:
        """Starts the ranks of a later epoch, which wait for it."""
        if self._standby is None:
            self._standby = epoch, self._start(epoch)
            log.event("standing_by", restarts=epoch, pid=self._standby[1].pid)

    def end(self) -> None:
        """Ends the ranks that stand by."""
        if self._standby is not None:
            send(members(self._standby[1].pid), signal.SIGKILL)
            self._standby[1].wait()
            self._standby = None

    @property
    def waiting_pid(self) -> int:
        """The launcher that stands by, or 0."""
        return self._standby[1].pid if self._standby is not None else 0

    def _start(self, epoch: int) -> subprocess.Popen[bytes]:
        self._paths.outcomes.joinpath(str(epoch)).mkdir(parents=True, exist_ok=True)
        return start(self._job, self._completion_index, self._paths, epoch)
