"""Creates the children of an attempt."""

from __future__ import annotations

from qlora_api import names
from qlora_api.status import Phase
from qlora_operator.plan.types import AttemptChange, Decision, Observation

PODS_REQUESTED = "PodsRequested"
QUEUED = "Queued"
PREDECESSOR_LEAVES = "PredecessorLeaves"
"""A deleted QLoRAJob of the same name still has pods or other children; they go by themselves."""
WAITING = "the pods of the deleted QLoRAJob of the same name are still there; they have the same host names"
PREDECESSOR_PATIENCE = 60.0
"""Seconds beyond their grace period after which they are waited for no more: their node may be lost."""
PREDECESSOR_RETRY = 5.0
"""Seconds after which it is looked again whether they have gone."""


def start_attempt(observation: Observation) -> Decision | None:
    """Attempt 1 needs no record before its children; a later one is recorded first, and created here.

    Children that exist already, from before a crash of the operator, are adopted.
    """
    assert observation.spec is not None
    if observation.record is not None and not observation.awaits_children:
        return None
    if observation.record is None and _must_wait_for_predecessor(observation):
        return Decision(Phase.PENDING, PREDECESSOR_LEAVES, WAITING, requeue_after=PREDECESSOR_RETRY)
    change = AttemptChange.BEGIN if observation.record is None else AttemptChange.NONE
    queue = observation.spec.queue_name
    if queue is None:
        message = waiting_message(observation.spec.nodes)
        return Decision(Phase.STARTING, PODS_REQUESTED, message, attempt=change, create=True)
    name = names.attempt_name(observation.resource.metadata.name, observation.attempt)
    return Decision(Phase.QUEUED, QUEUED, queue_message(name, queue), attempt=change, create=True)


def _must_wait_for_predecessor(observation: Observation) -> bool:
    """Pods of both jobs would take each other for their own: the first attempts' pods have the same names.

    Those that have ended are waited for too: as long as a node has one, its kubelet keeps the immutable ConfigMap of
    that name, and would give the old one to the new pods.
    """
    patience = observation.defaults.termination_grace_period + PREDECESSOR_PATIENCE
    age = observation.age_of(observation.resource.created_at or None)
    return bool(observation.predecessor_pods) and age < patience


def waiting_message(nodes: int) -> str:
    """What a job that starts is waiting for."""
    return f"waiting for {nodes} pod{'s' if nodes > 1 else ''} to start training"


def queue_message(job: str, queue: str | None, words: str | None = None) -> str:
    """What a job that is queued is waiting for.

    Args:
        job: the batch Job.
        queue: the LocalQueue; None if the Job was suspended without one.
        words: what the queue itself says.
    """
    where = f"queue {queue} to admit Job {job}" if queue else f"Job {job} to be resumed"
    return f"waiting for {where}: {words}" if words else f"waiting for {where}"
