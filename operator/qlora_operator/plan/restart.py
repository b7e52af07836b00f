"""Begins the attempt after one that has ended."""

from __future__ import annotations

from qlora_api.status import Attempt, Phase
from qlora_operator.plan.budget import SUSPENDED, delay
from qlora_operator.plan.suspend import RESUME_MESSAGE, RESUMED
from qlora_operator.plan.types import AttemptChange, Decision, Observation
from qlora_operator.views import PodView

FENCE_AFTER = 60.0
"""Seconds beyond their grace period after which old pods are left behind: the new attempt's claim on the output
keeps them from writing."""
LOOK_AGAIN = 5.0


def restart_ended_attempt(observation: Observation) -> Decision | None:
    """Clears the old attempt away, and records the next one once the delay is over and no old pod can disturb it."""
    record = observation.record
    if record is None or observation.is_open:
        return None
    ended = observation.age_of(record.completion_time)
    patience = observation.defaults.termination_grace_period + FENCE_AFTER
    left = [pod for pod in (*observation.older_pods, *observation.pods) if not pod.finished]
    wait = delay(observation.status.attempts) - ended
    if wait <= 0 and left and ended < patience:
        wait = LOOK_AGAIN
    begin = wait <= 0 and not observation.live_jobs
    return Decision(
        Phase.RESTARTING,
        *_why(record),
        attempt=AttemptChange.BEGIN if begin else AttemptChange.NONE,
        delete_jobs=observation.live_jobs,
        force_delete=_pods_to_force(observation, left),
        requeue_after=0.0 if begin else max(wait, 1.0),
    )


def _why(ended: Attempt) -> tuple[str, str]:
    """Reason and message of the attempt that follows."""
    if ended.reason == SUSPENDED:
        return RESUMED, RESUME_MESSAGE
    return ended.reason or "Restarting", ended.message or ""


def _pods_to_force(observation: Observation, left: list[PodView]) -> tuple[PodView, ...]:
    """Pods that nobody will ever see ending, since their nodes do not answer; each is deleted once."""
    assert observation.spec is not None
    if not observation.spec.run_policy.replace_pods_of_lost_nodes:
        return ()
    return tuple(pod for pod in left if pod.node in observation.lost_nodes and not pod.forced)
