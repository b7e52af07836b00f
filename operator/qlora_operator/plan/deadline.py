"""Ends jobs that take too long: to run all their pods, or altogether."""

from __future__ import annotations

from qlora_api.durations import parse_duration
from qlora_api.reasons import Reason
from qlora_api.status import Phase
from qlora_operator.plan.blocked import first_blocked
from qlora_operator.plan.pause import active_seconds
from qlora_operator.plan.types import AttemptChange, Decision, Observation


def fail_after_deadline(observation: Observation) -> Decision | None:
    """Failed once `runPolicy.activeDeadline` has passed since the first start, without the pauses."""
    assert observation.spec is not None
    left = active_time_left(observation)
    if left is None or left > 0:
        return None
    deadline = observation.spec.run_policy.active_deadline
    return _fail(
        observation, Reason.DEADLINE_EXCEEDED, f"the job has not ended within {deadline} (runPolicy.activeDeadline)"
    )


def fail_after_start_deadline(observation: Observation) -> Decision | None:
    """Failed if an attempt's pods do not all run in time: the ones that do must not hold their nodes for ever."""
    assert observation.spec is not None
    left = start_time_left(observation)
    if left is None or left > 0:
        return None
    limit = observation.spec.run_policy.start_deadline
    blocked = first_blocked(observation.pods)
    reason = blocked.reason if blocked and blocked.reason in set(Reason) else Reason.START_TIMEOUT
    why = f": {blocked.message}" if blocked else ""
    return _fail(observation, reason, f"not all pods ran within {limit} (runPolicy.startDeadline){why}")


def active_time_left(observation: Observation) -> float | None:
    """Seconds until `activeDeadline`, or None if there is none or the job has not begun, or waits by decision."""
    assert observation.spec is not None
    deadline = observation.spec.run_policy.active_deadline
    active = active_seconds(observation)
    return None if deadline is None or active is None else parse_duration(deadline) - active


def start_time_left(observation: Observation) -> float | None:
    """Seconds until `startDeadline`, or None if the attempt is not starting."""
    assert observation.spec is not None
    if observation.status.phase != Phase.STARTING or observation.record is None:
        return None
    limit = parse_duration(observation.spec.run_policy.start_deadline)
    return limit - observation.age_of(observation.record.start_time)


def _fail(observation: Observation, reason: str, message: str) -> Decision:
    change = AttemptChange.END if observation.is_open else AttemptChange.NONE
    return Decision(Phase.FAILED, reason, message, attempt=change)
