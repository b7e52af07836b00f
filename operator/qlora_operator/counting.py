"""Brings the counters up to date with a status that has just been written."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_api.status import Attempt, Phase, QLoRAJobStatus, RestartInPlace
from qlora_operator.goodput import Spent, time_spent
from qlora_operator.metrics import JOBS_FINISHED, LOST_SECONDS, LOST_STEPS, RESTARTS, TRAINED_SECONDS
from qlora_operator.plan.budget import PAUSES
from qlora_operator.plan.in_place import Stretch, all_restarts, new_restarts

ATTEMPT, IN_PLACE = "attempt", "in_place"
"""Kinds of restart: with new pods, or of the ranks alone."""
STARTUP = "Startup"
"""Reason of the time before a job's first step."""
OTHER = "Other"
"""Any reason that this operator does not know: pods choose theirs, and each would be a series for ever."""
REASONS = (*Reason, OTHER)
LABELS = frozenset({*REASONS, *PAUSES, Phase.SUCCEEDED})


def begin_at_zero() -> None:
    """Makes every series at once: `increase` does not see the first event of a series that begins with it."""
    JOBS_FINISHED.labels(phase=Phase.SUCCEEDED, reason=Phase.SUCCEEDED)
    LOST_SECONDS.labels(kind="down", reason=STARTUP)
    for reason in REASONS:
        JOBS_FINISHED.labels(phase=Phase.FAILED, reason=reason)
        for kind in (ATTEMPT, IN_PLACE):
            RESTARTS.labels(kind=kind, reason=reason)
    for reason in (*REASONS, *PAUSES):
        LOST_STEPS.labels(reason=reason)
        for kind in ("down", "repeated"):
            LOST_SECONDS.labels(kind=kind, reason=reason)


def count(before: QLoRAJobStatus, after: QLoRAJobStatus) -> None:
    """Counts what lies between two statuses of one job."""
    if after.is_final and not before.is_final:
        ended = after.condition(str(after.phase))
        JOBS_FINISHED.labels(phase=after.phase, reason=_label(ended.reason if ended else None)).inc()
    _count_restarts(before, after)
    _count_lost_steps(before, after)
    spent_before = time_spent(before)
    for stretch, spent in time_spent(after).items():
        _count_time(spent_before.get(stretch, Spent()), spent)


def _count_restarts(before: QLoRAJobStatus, after: QLoRAJobStatus) -> None:
    in_place = new_restarts(before, after)
    for restart in in_place:
        RESTARTS.labels(kind=IN_PLACE, reason=_label(restart.reason)).inc()
    if len(after.attempts) > 1 and (after.restarts or 0) > (before.restarts or 0) + len(in_place):
        RESTARTS.labels(kind=ATTEMPT, reason=_label(after.attempts[-2].reason)).inc()


def _count_lost_steps(before: QLoRAJobStatus, after: QLoRAJobStatus) -> None:
    known = _lost_steps(before)
    for place, (reason, steps) in _lost_steps(after).items():
        if place not in known:
            LOST_STEPS.labels(reason=_label(reason)).inc(steps)


def _lost_steps(status: QLoRAJobStatus) -> dict[Stretch, tuple[str | None, int]]:
    """Reason and steps, as far as they are known; 0 stands for the end of the attempt."""
    ends: dict[Stretch, Attempt | RestartInPlace] = {(attempt.start_time, 0): attempt for attempt in status.attempts}
    ends |= all_restarts(status)
    return {place: (end.reason, end.lost_steps) for place, end in ends.items() if end.lost_steps is not None}


def _count_time(before: Spent, after: Spent) -> None:
    reason = _label(after.reason)
    TRAINED_SECONDS.inc(max(0.0, after.trained - before.trained))
    for kind, cause, seconds in (
        ("down", STARTUP, after.startup - before.startup),
        ("down", reason, after.down - before.down),
        ("repeated", reason, after.repeated - before.repeated),
    ):
        if seconds > 0:
            LOST_SECONDS.labels(kind=kind, reason=cause).inc(seconds)


def _label(reason: str | None) -> str:
    return reason if reason is not None and reason in LABELS else OTHER
