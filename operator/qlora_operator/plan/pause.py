"""The time that a job spends waiting by somebody's decision: in a queue, or suspended."""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.types import Observation
from qlora_operator.times import timestamp

PAUSES = frozenset({Phase.QUEUED, Phase.SUSPENDED})


def pause_after(observation: Observation, phase: Phase) -> tuple[str | None, int | None]:
    """Since when the job is paused, once it is in that phase, and the seconds of earlier pauses."""
    since, seconds = observation.status.paused_since, observation.status.paused_seconds
    if phase in PAUSES:
        return since or timestamp(observation.now), seconds
    if since is None:
        return None, seconds
    return None, (seconds or 0) + max(0, round(observation.age_of(since)))


def active_seconds(observation: Observation) -> float | None:
    """Seconds since the first start without the pauses; None before it, and during a pause."""
    status = observation.status
    if status.start_time is None or status.paused_since is not None:
        return None
    return observation.age_of(status.start_time) - (status.paused_seconds or 0)
