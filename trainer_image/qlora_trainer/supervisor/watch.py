"""Watches over launcher and ranks until both have ended, whatever happens to either."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

from qlora_api.reasons import Reason
from qlora_trainer import log
from qlora_trainer.supervisor.processes import Process, descendants, reap, send, wait_until

POLL_SECONDS = 0.1
GRACE_MARGIN_SECONDS = 5.0
"""Kept of the pod's grace period for killing what is left and writing the termination message."""
AFTER_FAILURE_SECONDS = 15.0
"""The time that the other ranks of the pod have to say how they ended, once one of them has failed."""


class Watch:
    """The processes of one launch.

    Args:
        launcher: the `deepspeed` process.
        grace_seconds: the pod's time between SIGTERM and SIGKILL.
        is_stopping: whether the pod was asked to stop.
        has_failed: whether a rank has left word that it failed.
    """

    def __init__(
        self,
        launcher: subprocess.Popen[bytes],
        grace_seconds: float,
        is_stopping: Callable[[], bool],
        has_failed: Callable[[], bool],
    ) -> None:
        self._launcher = launcher
        self._grace = max(1.0, grace_seconds - GRACE_MARGIN_SECONDS)
        self._is_stopping = is_stopping
        self._has_failed = has_failed
        self._told: set[int] = set()
        self.outlived = False

    def until_the_end(self) -> int | None:
        """Returns when no process is left. All ranks are asked to stop at once, and killed if they take too long.

        Returns:
            The launcher's exit code, negative for a signal, or None if it had to be killed.
        """
        deadline: float | None = None
        while self._launcher.poll() is None:
            reap(except_pid=self._launcher.pid)
            if self._is_stopping():
                self._ask_to_stop()
                deadline = deadline or time.monotonic() + self._grace
            elif self._has_failed():
                deadline = deadline or time.monotonic() + AFTER_FAILURE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                log.event("killed", why="the time to stop is over")
                break
            time.sleep(POLL_SECONDS)
        exit_code = self._launcher.poll()
        if exit_code is not None and self._ranks():
            self._stop_orphans()
        send(self._family(), signal.SIGKILL)
        self._launcher.wait()
        wait_until(lambda: not self._family(), timeout=5)
        reap(except_pid=0)
        return exit_code

    def _stop_orphans(self) -> None:
        """The launcher is gone and its ranks are not: they get the chance to save what they have."""
        self.outlived = not self._is_stopping()
        log.event("launcher_vanished", exit_code=self._launcher.returncode)
        deadline = time.monotonic() + self._grace
        while self._ranks() and time.monotonic() < deadline:
            self._ask_to_stop()
            reap(except_pid=0)
            time.sleep(POLL_SECONDS)

    def _ask_to_stop(self) -> None:
        """Signals every rank that has not been told; a launcher without ranks yet is ended itself."""
        family = self._family()
        ranks = [process for process in family if process.is_rank]
        new = [rank for rank in ranks if rank.pid not in self._told]
        send(new, signal.SIGTERM)
        if new:
            log.event("asked_to_stop", processes=len(new))
        if not ranks and not self._told:
            send(family, signal.SIGKILL)
        self._told |= {rank.pid for rank in new}

    def _ranks(self) -> list[Process]:
        return [process for process in self._family() if process.is_rank]

    def _family(self) -> list[Process]:
        return descendants(os.getpid())


def is_failure(reason: str | None) -> bool:
    """Whether a rank's reason is one after which the others have nothing more to do."""
    return reason is not None and reason != Reason.STOPPED
