"""Brings the counters up to date with a status that has just been written."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_api.status import Phase, QLoRAJobStatus
from qlora_operator.goodput import Spent, time_spent
from qlora_operator.metrics import JOBS_FINISHED, LOST_SECONDS, LOST_STEPS, RESTARTS, TRAINED_SECONDS
from qlora_operator.plan.budget import SUSPENDED

STARTUP = "Startup"
"""Reason of the time before a job's first step."""
OTHER = "Other"
"""Any reason that this operator does not know: pods choose theirs, and each would be a series for ever."""
REASONS = (*Reason, OTHER)
LABELS = frozenset({*REASONS, SUSPENDED, Phase.SUCCEEDED})


def begin_at_zero() -> None:
    """Makes every series at once: `increase` does not see the first event of a series that begins with it."""
    JOBS_FINISHED.labels(phase=Phase.SUCCEEDED, reason=Phase.SUCCEEDED)
    LOST_SECONDS.labels(kind="down", reason=STARTUP)
    for reason in REASONS:
        JOBS_FINISHED.labels(phase=Phase.FAILED, reason=reason)
        RESTARTS.labels(reason=reason)
    for reason in (*REASONS, SUSPENDED):
        LOST_STEPS.labels(reason=reason)
        for kind in ("down", "repeated"):
            LOST_SECONDS.labels(kind=kind, reason=reason)


def count(before: QLoRAJobStatus, after: QLoRAJobStatus) -> None:
    """Counts what lies between two statuses of one job."""
    if after.is_final and not before.is_final:
        ended = after.condition(str(after.phase))
        JOBS_FINISHED.labels(phase=after.phase, reason=_label(ended.reason if ended else None)).inc()
    if (after.restarts or 0) > (before.restarts or 0):
        RESTARTS.labels(reason=_label(after.attempts[-2].reason)).inc()
    known = {attempt.number for attempt in before.attempts if attempt.lost_steps is not None}
    for attempt in after.attempts:
        if attempt.lost_steps is not None and attempt.number not in known:
            LOST_STEPS.labels(reason=_label(attempt.reason)).inc(attempt.lost_steps)
    spent_before = time_spent(before)
    for number, spent in time_spent(after).items():
        _count_time(spent_before.get(number, Spent()), spent)


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
