"""Follows a Job that a queue admits, and takes back: Kueue does both by the Job's `suspend`.

The Job stays the same while it waits, and with it its Workload: that keeps its place in the queue. Its pods are new.
"""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.budget import REQUEUED
from qlora_operator.plan.last_words import last_words
from qlora_operator.plan.start import PODS_REQUESTED, QUEUED, queue_message, waiting_message
from qlora_operator.plan.types import AttemptChange, Decision, Observation
from qlora_operator.views import JobView

LOOK_AGAIN = 30.0
"""Seconds until the queue is asked again why the job waits; no event tells that."""
LOOK_SOON = 2.0
"""The same for a Job that has just been created: the queue needs a moment to look at it."""
NEW = 10.0
"""Seconds for which a Job has just been created."""


def follow_queue(observation: Observation) -> Decision | None:
    """Queued while the Job is suspended, Starting once it is not. An interrupted attempt has not failed."""
    job, record, spec = observation.job, observation.record, observation.spec
    if job is None or record is None or spec is None or not job.is_live or observation.awaits_children:
        return None
    if not observation.is_open and record.reason != REQUEUED:
        return None
    if job.suspended:
        return _wait(observation, job)
    if observation.status.phase != Phase.QUEUED:
        return None
    return Decision(Phase.STARTING, PODS_REQUESTED, waiting_message(spec.nodes), attempt=AttemptChange.RESUME)


def _wait(observation: Observation, job: JobView) -> Decision | None:
    if observation.is_open:
        if observation.status.phase == Phase.RUNNING:
            message = f"its queue has taken the place back: {observation.queue_words or 'its Job was suspended'}"
            return _interrupt(observation, Phase.QUEUED, message)
        if _is_elsewhere(observation, job):
            return _interrupt(observation, Phase.RESTARTING, "it moves to another queue or priority class")
    elif _is_elsewhere(observation, job) or _has_lost_pods(observation) or job.succeeded:
        return None  # a new attempt: in the new queue; or to keep the lost pods from writing; or with all its pods
    return Decision(
        Phase.QUEUED,
        QUEUED if observation.is_open else REQUEUED,
        _message(observation, job),
        report=None if observation.is_open else last_words(observation.known_pods),
        requeue_after=LOOK_SOON if observation.queue_words is None and _is_new(observation) else LOOK_AGAIN,
    )


def _message(observation: Observation, job: JobView) -> str:
    """What is waited for. When the queue cannot be asked just now, what it said before stands."""
    message = queue_message(job.metadata.name, job.queue, observation.queue_words)
    before = observation.status.condition("Running")
    told_before = before is not None and before.message.startswith(message)
    return before.message if before is not None and told_before else message


def _is_new(observation: Observation) -> bool:
    return observation.record is not None and observation.age_of(observation.record.start_time) < NEW


def _interrupt(observation: Observation, phase: Phase, message: str) -> Decision:
    return Decision(phase, REQUEUED, message, attempt=AttemptChange.END, report=last_words(observation.known_pods))


def _is_elsewhere(observation: Observation, job: JobView) -> bool:
    """Whether the Job stands in another queue than its job says now. The Job cannot move without its Workload."""
    spec = observation.spec
    assert spec is not None
    wanted = ((spec.queue_name, job.queue), (spec.priority_class, job.priority_class))
    return any(want is not None and want != has for want, has in wanted)  # Kueue may fill in what the job leaves open


def _has_lost_pods(observation: Observation) -> bool:
    """Whether a pod is left on a node that does not answer: a new pod of the same attempt could meet it."""
    return any(pod.node in observation.lost_nodes and not pod.finished for pod in observation.pods)
