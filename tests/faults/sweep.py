"""Runs cases on several lanes at once, ahead of the tests that ask for them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from faults.kinds import ReadFault, WriteFault
from faults.lane import Case, Expectation, Lane, Outcome

WRITE_FAULTS = list(WriteFault)
TRIES = 3
SETTLING = 5.0
"""Seconds after a run in which a last Event may still come."""


class Sweep:
    """All cases of a test run.

    Args:
        everything: whether each write of a workload meets each fault. If not, each write meets one, and all of them
            together meet all.
    """

    def __init__(self, lanes: list[Lane], *, everything: bool) -> None:
        self._lanes = lanes
        self._everything = everything
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._free.put(lane)
        self._threads = ThreadPoolExecutor(len(lanes))
        self._undisturbed: dict[str, list[Future[Outcome]]] = {}
        self._disturbed: dict[tuple[str, WriteFault | ReadFault], list[Future[Outcome]]] = {}

    def plan(self, workloads: Iterable[str], disturbances: Iterable[tuple[str, WriteFault | ReadFault]]) -> None:
        """Runs each workload twice in peace, and then disturbed as often as it has writes."""
        for workload in workloads:
            self._undisturbed[workload] = [self._submit(Case(workload), None) for _ in range(2)]
        for number, workload in enumerate(self._undisturbed):
            faults = [fault for name, fault in disturbances if name == workload]
            reference = self.undisturbed(workload)[0]
            writes = min(len(outcome.writes) for outcome in self.undisturbed(workload))
            for fault in faults:
                cases = list(self._cases(workload, fault, writes, shift=number))
                assert reference.state is not None
                expected = Expectation(reference.state, reference.events)
                self._disturbed[workload, fault] = [self._submit(case, expected) for case in cases]

    def _cases(self, workload: str, fault: WriteFault | ReadFault, writes: int, shift: int) -> Iterator[Case]:
        if isinstance(fault, ReadFault):
            yield Case(workload, read_fault=fault)
            return
        turn = WRITE_FAULTS.index(fault)
        for number in range(writes):
            if self._everything or (number + shift) % len(WRITE_FAULTS) == turn:
                yield Case(workload, write_fault=(number, fault))

    def _submit(self, case: Case, expected: Expectation | None) -> Future[Outcome]:
        return self._threads.submit(self._run, case, expected)

    def _run(self, case: Case, expected: Expectation | None) -> Outcome:
        """A run that is told late of what it did may make a write less than another: it is repeated then."""
        lane = self._free.get()
        try:
            for _ in range(TRIES - 1):
                outcome = lane.run(case, expected)
                if case.write_fault is None or outcome.was_disturbed:
                    return outcome
            return lane.run(case, expected)
        finally:
            self._free.put(lane)

    def undisturbed(self, workload: str) -> list[Outcome]:
        return [future.result() for future in self._undisturbed[workload]]

    def disturbed(self, workload: str, fault: WriteFault | ReadFault) -> list[Outcome]:
        return [future.result() for future in self._disturbed[workload, fault]]

    def outcomes(self) -> list[Outcome]:
        """Of all cases, once all have ended."""
        futures = [*self._undisturbed.values(), *self._disturbed.values()]
        return [future.result() for several in futures for future in several]

    def writes_after_the_end(self, outcomes: list[Outcome], quiet: float) -> list[str]:
        """I10: what the operators wrote about jobs that had settled, until `quiet` seconds after the last of them."""
        last = max((outcome.ended_at for outcome in outcomes), default=0.0)
        time.sleep(max(0.0, last + SETTLING + quiet - time.monotonic()))
        settled = {(outcome.namespace, outcome.job): outcome for outcome in outcomes}
        late = []
        for lane in self._lanes:
            for write in list(lane.proxy.log):
                outcome = settled.get((lane.namespace, write.job))
                if outcome is not None and write.at > outcome.ended_at + SETTLING:
                    late.append(f"{write} {write.at - outcome.ended_at:.1f} s after the end of {outcome.case}")
        return late

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
