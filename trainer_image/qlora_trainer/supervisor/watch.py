"""Watches over a launcher and its ranks until both have ended, whatever happens to either."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qlora_api.reasons import Reason
from qlora_trainer import log
from qlora_trainer.supervisor.processes import Process, members, reap, send, wait_until

POLL_SECONDS = 0.1
GRACE_MARGIN_SECONDS = 5.0
"""Kept of the pod's grace period for killing what is left and writing the termination message."""
AFTER_FAILURE_SECONDS = 5.0
"""The time that the other ranks of the pod have to say how they ended, once one of them has failed.

A rank that waits in a collective operation of NCCL does not notice, and the launcher would wait half a minute for it.
"""
HALT_SECONDS = 2.0
"""The same, once a rank of another pod has failed."""


@dataclass(frozen=True)
class Outside:
    """What the watch asks about the world, once a round."""

    each_round: Callable[[], None]
    """Called while the launcher lives."""
    is_stopping: Callable[[], bool]
    """Whether the pod was asked to stop."""
    is_halted: Callable[[], bool]
    """Whether the gang has halted the epoch."""
    is_incomplete: Callable[[], bool]
    """Whether a pod of the gang is gone, so that the ranks wait for it in the middle of a step for ever."""
    ended_ranks: Callable[[], Mapping[int, bool]]
    """The ranks of this pod that have left word, and whether they failed."""
    waiting_pid: Callable[[], int]
    """A launcher that stands by, which is not this watch's to collect; 0 if there is none."""


class Watch:
    """The processes of one launch.

    Args:
        launcher: the `deepspeed` process, the leader of its session.
        grace_seconds: the pod's time between SIGTERM and SIGKILL.
        outside: what else there is.
    """

    def __init__(self, launcher: subprocess.Popen[bytes], grace_seconds: float, outside: Outside) -> None:
        self._launcher = launcher
        self._grace = max(1.0, grace_seconds - GRACE_MARGIN_SECONDS)
        self._outside = outside
        self._deadline: float | None = None
        self._told: set[int] = set()
        self._seen: set[int] = set()
        self.outlived = False
        self.vanished: int | None = None
        """A rank that ended without a word while the launcher lived."""

    def until_the_end(self) -> int | None:
        """Returns when no process is left. All ranks are asked to stop at once, and killed if they take too long.

        Returns:
            The launcher's exit code, negative for a signal, or None if it had to be killed.
        """
        while self._launcher.poll() is None:
            self._outside.each_round()
            self._reap()
            if self._outside.is_stopping():
                self._ask_to_stop()
                self._end_within(HALT_SECONDS if self._outside.is_incomplete() else self._grace)
            elif self._outside.is_halted():
                self._end_within(HALT_SECONDS)
            elif self._has_failed():
                self._end_within(AFTER_FAILURE_SECONDS)
            if self._is_late:
                log.event("killed", why="the time to stop is over")
                break
            time.sleep(POLL_SECONDS)
        exit_code = self._launcher.poll()
        if exit_code is not None and self._ranks():
            self._stop_orphans()
        send(self._members(), signal.SIGKILL)
        self._launcher.wait()
        wait_until(lambda: not self._members(), timeout=5)
        self._reap()
        return exit_code

    def _has_failed(self) -> bool:
        """Whether a rank of this pod has said that it failed, or is gone and has said nothing."""
        living = {process.rank for process in self._ranks() if process.rank is not None}
        gone = self._seen - living
        self._seen |= living
        ended = self._outside.ended_ranks()  # looked at last: a rank leaves word before it ends
        silent = sorted(gone - set(ended))
        if silent and self.vanished is None:
            self.vanished = silent[0]
            log.event("rank_vanished", rank=silent[0])
        return bool(silent) or any(ended.values())

    def _stop_orphans(self) -> None:
        """The launcher is gone and its ranks are not: they get the chance to save what they have."""
        self.outlived = not (self._outside.is_stopping() or self._outside.is_halted())
        log.event("launcher_vanished", exit_code=self._launcher.returncode)
        self._end_within(self._grace)
        while self._ranks() and not self._is_late and not self._outside.is_halted():
            self._ask_to_stop()
            self._reap()
            time.sleep(POLL_SECONDS)

    def _end_within(self, seconds: float) -> None:
        """Sets the time after which the ranks are killed; it is never put off."""
        deadline = time.monotonic() + seconds
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    @property
    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _ask_to_stop(self) -> None:
        """Signals every rank that has not been told; a launcher without ranks yet is ended itself."""
        found = self._members()
        ranks = [process for process in found if process.rank is not None]
        new = [rank for rank in ranks if rank.pid not in self._told]
        send(new, signal.SIGTERM)
        if new:
            log.event("asked_to_stop", processes=len(new))
        if not ranks and not self._told:
            send(found, signal.SIGKILL)
        self._told |= {rank.pid for rank in new}

    def _reap(self) -> None:
        reap(except_pids={self._launcher.pid, self._outside.waiting_pid()})

    def _ranks(self) -> list[Process]:
        return [process for process in self._members() if process.rank is not None]

    def _members(self) -> list[Process]:
        return members(session=self._launcher.pid)


def is_failure(reason: str | None) -> bool:
    """Whether a rank's reason is one after which the others have nothing more to do."""
    return reason is not None and reason != Reason.STOPPED
