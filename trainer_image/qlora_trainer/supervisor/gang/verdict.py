"""What follows when the ranks of an epoch have failed: a new epoch in the living pods, or the end of the attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qlora_api.reasons import CONSEQUENCES, Reason, policy_of
from qlora_api.report import Restart, Termination


@dataclass(frozen=True)
class Fault:
    """Why an epoch ended."""

    outcome: Termination
    completion_index: int | None
    """Pod of the outcome; None if it is the coordinator's own finding."""

    @property
    def reason(self) -> str:
        """One word; a trainer always gives one."""
        return self.outcome.reason or Reason.TRAINER_FAILED


def first_fault(outcomes: Mapping[int, Termination]) -> Fault | None:
    """The fault that the others follow from: the first to be told that is no consequence of another.

    Args:
        outcomes: how each pod's ranks ended, by completion index, in the order in which they were told.
    """
    faults = [Fault(outcome, index) for index, outcome in outcomes.items() if outcome.outcome == "Failed"]
    stops = [fault for fault in faults if fault.reason == Reason.STOPPED]
    causes = [fault for fault in faults if fault.reason not in CONSEQUENCES]
    return next(iter([*causes, *stops, *faults]), None)


def may_restart(fault: Fault, step: int | None, restarts: Sequence[Restart], limit: int) -> bool:
    """Whether the ranks are started again inside the living pods.

    Not if the reason calls for something else, if the attempt has used up its restarts, or if no step was done between
    the last restart and the return of its reason.

    Args:
        fault: why the epoch ended.
        step: last step that is known to be done.
        restarts: those of this attempt so far.
        limit: how many there may be.
    """
    if not policy_of(fault.reason).in_place or len(restarts) >= limit:
        return False
    last = restarts[-1] if restarts else None
    comes_back = last is not None and last.reason == fault.reason and (step or 0) <= (last.to_step or 0)
    return not comes_back
