"""Ends an attempt that cannot go on: the job restarts or fails, as the reason's policy and the budget say."""

from __future__ import annotations

from qlora_api import names
from qlora_api.reasons import CONSEQUENCES, Reason
from qlora_api.status import Phase
from qlora_operator.plan.budget import REQUEUED, disruptions_within_the_hour, exhausted
from qlora_operator.plan.cause import Cause, first_cause
from qlora_operator.plan.in_place import unrecorded_restarts
from qlora_operator.plan.ladder import step_down
from qlora_operator.plan.types import AttemptChange, Decision, Observation


def end_failed_attempt(observation: Observation) -> Decision | None:
    """Looks for the end of the attempt: a Job that gives up, pods on nodes that do not answer, a Job that is gone."""
    if not observation.started:
        return None
    job = observation.job
    if job is None or (job.metadata.deleting and not job.failing):
        name = names.attempt_name(observation.resource.metadata.name, observation.attempt)
        return end(observation, Reason.POD_LOST, f"Job {name} was deleted from outside, and its pods with it")
    cause = first_cause(observation.known_pods, observation.lost_nodes)
    if job.failing and job.suspended and (cause is None or cause.reason in CONSEQUENCES):
        # the pods that were asked to stop first had ended before the Job controller came to the others
        message = "its queue has taken the place back, and the Job could not be kept"
        words = cause.report if cause else None
        return Decision(Phase.RESTARTING, REQUEUED, message, attempt=AttemptChange.END, report=words)
    if job.failing:
        message = job.message or "the Job failed and left no pod that tells why"
        return end(observation, Reason.POD_LOST, message, cause)
    if cause is not None and cause.reason == Reason.NODE_LOST:
        return end(observation, cause.reason, cause.message, cause)
    return None


def end(observation: Observation, reason: str, message: str, cause: Cause | None = None) -> Decision:
    """The decision that follows from a reason of failure; `cause`, if there is one, knows better."""
    assert observation.spec is not None
    if cause is not None:
        reason, message = cause.reason, cause.message
    words = cause.report if cause else None
    restarts = observation.status.counted_restarts or 0
    counted = restarts + unrecorded_restarts(observation, words)
    disruptions = disruptions_within_the_hour(observation)
    given_up = exhausted(reason, observation.spec.run_policy, counted, disruptions)
    less = step_down(observation.spec, reason, words, observation.status.portion)
    if less is not None:
        message, given_up = less.message, None
    if given_up:
        message = f"{message}; {given_up}"
    return Decision(
        Phase.RESTARTING if given_up is None else Phase.FAILED,
        reason,
        message,
        attempt=AttemptChange.END,
        pod=cause.pod.metadata.name if cause else None,
        node=cause.pod.node if cause else None,
        report=words,
        portion=less.portion if less else None,
    )
