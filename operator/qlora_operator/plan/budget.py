"""Whether a failed attempt is followed by another, and after which delay."""

from __future__ import annotations

from collections.abc import Sequence

from qlora_api.reasons import Reason, Retry, policy_of
from qlora_api.spec import RunPolicySpec
from qlora_api.status import Attempt, QLoRAJobStatus
from qlora_operator.plan.types import Observation

SUSPENDED = "Suspended"
"""Reason of an attempt that was ended by `runPolicy.suspend`."""
REQUEUED = "Requeued"
"""Reason of an attempt whose queue has taken its place back."""
PAUSES = frozenset({SUSPENDED, REQUEUED})
"""Reasons that are no failure, and cost nothing."""

HOUR = 3600.0
FIRST_DELAY = {Retry.SOON: 5.0, Retry.LATER: 30.0}
LONGEST_DELAY = {Retry.SOON: 300.0, Retry.LATER: 900.0}
DELAY_AFTER_PROGRESS = 1.0


def exhausted(reason: str, policy: RunPolicySpec, counted: int, disruptions: int) -> str | None:
    """Why there is no further attempt after a failure; None if there is one, empty if the same would happen again.

    Args:
        reason: of the failure.
        policy: the job's.
        counted: restarts so far that the job itself has caused, those in place too.
        disruptions: attempts of the last hour that were ended from outside.
    """
    rule = policy_of(reason)
    if rule.retry == Retry.NEVER:
        return ""
    if rule.counted:
        spent = counted >= policy.max_restarts
        return f"given up after {_times(counted, 'restart')} (runPolicy.maxRestarts)" if spent else None
    if disruptions >= policy.max_disruptions:
        return f"given up after {_times(disruptions, 'disruption')} within an hour (runPolicy.maxDisruptions)"
    return None


def disruptions_within_the_hour(observation: Observation) -> int:
    """Attempts that the cluster has ended in the last hour."""
    return sum(
        1
        for attempt in observation.status.attempts
        if is_disruption(attempt) and observation.age_of(attempt.completion_time) < HOUR
    )


def is_disruption(attempt: Attempt) -> bool:
    """Whether the cluster ended the attempt, and not the job itself or its user."""
    reason = attempt.reason
    return reason is not None and reason not in (*PAUSES, "Succeeded") and not policy_of(reason).counted


def delay(attempts: Sequence[Attempt]) -> float:
    """Seconds between the end of the last attempt and the next: short after progress, then doubling."""
    last = attempts[-1]
    if last.reason in PAUSES or last.reason is None:
        return 0.0
    if last.reason == Reason.GPU_OUT_OF_MEMORY:
        return DELAY_AFTER_PROGRESS
    retry = policy_of(last.reason).retry
    fruitless = 0
    for attempt in reversed(attempts):
        if _made_progress(attempt) or attempt.reason in PAUSES:
            break
        fruitless += 1
    if fruitless == 0 and retry == Retry.SOON:
        return DELAY_AFTER_PROGRESS
    return min(LONGEST_DELAY[retry], FIRST_DELAY[retry] * 2.0 ** max(0, min(fruitless, 20) - 1))


def counters(status: QLoRAJobStatus) -> tuple[int, int]:
    """Restarts, and those that count, once the attempt after the last one begins."""
    reason = status.attempts[-1].reason if status.attempts else None
    restarts, counted = status.restarts or 0, status.counted_restarts or 0
    if reason is None or reason in PAUSES:
        return restarts, counted
    return restarts + 1, counted + int(spends_restart(reason))


def spends_restart(reason: str) -> bool:
    """Whether the attempt that follows spends `runPolicy.maxRestarts`.

    One that holds less at once, after a GPU's memory did not suffice, spends none: there are only so many of them.
    """
    return policy_of(reason).counted and reason != Reason.GPU_OUT_OF_MEMORY


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _made_progress(attempt: Attempt) -> bool:
    return attempt.to_step is not None and attempt.to_step > (attempt.from_step or 0)
