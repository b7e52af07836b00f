"""Whether another attempt follows, as the operator decides it: `runPolicy` bounds restarts and disruptions."""

from __future__ import annotations

from collections.abc import Sequence

from qlora_api.reasons import Retry, policy_of
from qlora_api.spec import RunPolicySpec
from qlora_api.status import Attempt
from qlora_operator.plan.budget import delay


def given_up(reason: str, policy: RunPolicySpec, counted: int, disruptions: int) -> str | None:
    """Why there is no further attempt; None if there is one, empty if the same would happen again.

    Args:
        reason: of the last attempt's end.
        policy: the job's.
        counted: restarts of this run that the job itself has caused, those in place too.
        disruptions: attempts of this run that were ended from outside.
    """
    rule = policy_of(reason)
    if rule.retry == Retry.NEVER:
        return ""
    if rule.counted:
        return f"given up after {counted} restarts (runPolicy.maxRestarts)" if counted >= policy.max_restarts else None
    if disruptions >= policy.max_disruptions:
        return f"given up after {disruptions} disruptions (runPolicy.maxDisruptions)"
    return None


def wait_before_next(attempts: Sequence[Attempt]) -> float:
    """Seconds: short after progress, then doubling."""
    return delay(attempts)
