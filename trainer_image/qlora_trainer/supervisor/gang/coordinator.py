"""The coordinator of the gang, in the supervisor of pod 0."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_api.report import Restart, Termination
from qlora_trainer import log, termination
from qlora_trainer.supervisor.gang.messages import GangState, MemberReport, MemberState, Order
from qlora_trainer.supervisor.gang.verdict import Fault, first_fault, may_restart

MISSING_SECONDS = 60.0
"""Time that a pod has to answer when the ranks are to be started again: longer than Kubernetes takes to find a lost
node, so that the attempt ends as a node's loss and not as a fault of the job."""

SILENT_SECONDS = 15.0
"""Time after which a pod that says nothing is taken for gone; the others ask every second or two."""


class Coordinator:
    """Decides what all pods do. Safe to use from several threads.

    Args:
        job: the job.
        last_step: tells the last step that is known to be done.
        on_restart: is told of each restart in place.
        clock: seconds.
    """

    def __init__(
        self,
        job: JobFile,
        last_step: Callable[[], int | None],
        on_restart: Callable[[Restart], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._last_step = last_step
        self._on_restart = on_restart
        self._clock = clock
        self._lock = threading.Lock()
        self._epoch = 0
        self._state = GangState.GATHER
        self._since = clock()
        self._ready: set[int] = set()
        self._outcomes: dict[int, Termination] = {}
        self._fault: Fault | None = None
        self._why = ""
        self._restarts: list[Restart] = []
        self._left: set[int] = set()
        self._heard: dict[int, float] = {}
        self._told_to_end: set[int] = set()

    def receive(self, report: MemberReport) -> Order | None:
        """Takes a pod's report and answers with what the gang does, or with None if it is not of this attempt."""
        if (report.uid, report.attempt) != (self._job.uid, self._job.attempt):
            return None
        if report.completion_index >= len(self._job.hosts):
            return None
        with self._lock:
            self._heard[report.completion_index] = self._clock()
            if report.epoch == self._epoch:
                self._take(report)
            self._look_at_the_clock()
            if report.leaves or self._state == GangState.END:
                self._told_to_end.add(report.completion_index)
            return Order(epoch=self._epoch, state=self._state, why=self._why, is_incomplete=self._is_incomplete)

    def find(self, reason: Reason, message: str) -> None:
        """Ends the epoch for something that no rank has told."""
        with self._lock:
            if self._state == GangState.TRAIN:
                self._fault = Fault(termination.failed(reason, message), None)
                self._halt()

    @property
    def finding(self) -> Termination | None:
        """The coordinator's own finding, if it was the cause of the last fault."""
        with self._lock:
            return self._fault.outcome if self._fault is not None and self._fault.completion_index is None else None

    @property
    def everyone_was_told_to_end(self) -> bool:
        """Whether no pod waits for an answer any more."""
        with self._lock:
            return len(self._told_to_end) == len(self._job.hosts)

    def _take(self, report: MemberReport) -> None:
        if report.state == MemberState.READY and self._state == GangState.GATHER:
            self._ready.add(report.completion_index)
            if len(self._ready) == len(self._job.hosts):
                self._enter(GangState.TRAIN)
        if report.leaves:
            self._left.add(report.completion_index)
        if report.state == MemberState.ENDED and report.outcome is not None:
            self._outcomes.setdefault(report.completion_index, report.outcome)
            if self._state == GangState.TRAIN and report.outcome.outcome == "Failed":
                self._halt()
            if self._state == GangState.HALT and len(self._outcomes) == len(self._job.hosts):
                self._decide()

    @property
    def _is_incomplete(self) -> bool:
        now = self._clock()
        return any(now - heard > SILENT_SECONDS for index, heard in self._heard.items() if index not in self._left)

    def _look_at_the_clock(self) -> None:
        is_waiting = self._state == GangState.HALT or (self._state == GangState.GATHER and self._epoch > 0)
        if not is_waiting or self._clock() - self._since < MISSING_SECONDS:
            return
        answered = set(self._outcomes) if self._state == GangState.HALT else self._ready
        missing = [host for index, host in enumerate(self._job.hosts) if index not in answered]
        message = f"{missing[0]} has not answered for {MISSING_SECONDS:.0f} s"
        self._fault = self._cause()
        if self._fault is None or self._fault.reason == Reason.STALLED:
            self._fault = Fault(termination.failed(Reason.PEER_LOST, message), None)
        self._why = message
        self._enter(GangState.END)

    def _cause(self) -> Fault | None:
        """The coordinator's own finding, or else the first fault that a pod has told."""
        return self._fault or first_fault(self._outcomes)

    def _halt(self) -> None:
        fault = self._cause()
        assert fault is not None, "a gang is halted for a fault"
        self._why = fault.outcome.message
        self._enter(GangState.HALT)

    def _decide(self) -> None:
        fault = self._cause()
        assert fault is not None, "a halted gang has failed"
        self._fault, self._why = fault, fault.outcome.message
        step = self._last_step()
        if self._left or not may_restart(fault, step, self._restarts, self._job.max_restarts_in_place):
            self._enter(GangState.END)
            return
        restart = Restart(
            number=len(self._restarts) + 1,
            time=time.time(),
            reason=fault.reason,
            message=fault.outcome.message[:512],
            completion_index=fault.completion_index,
            rank=fault.outcome.rank,
            to_step=step,
        )
        self._restarts.append(restart)
        self._on_restart(restart)
        self._epoch += 1
        self._ready, self._outcomes, self._fault = set(), {}, None
        self._enter(GangState.GATHER)

    def _enter(self, state: GangState) -> None:
        self._state, self._since = state, self._clock()
        log.event("gang", state=state, restarts=self._epoch, why=self._why)
