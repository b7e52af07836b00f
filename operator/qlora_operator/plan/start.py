"""Creates the children of an attempt."""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.types import AttemptChange, Decision, Observation

PODS_REQUESTED = "PodsRequested"


def start_attempt(observation: Observation) -> Decision | None:
    """Attempt 1 needs no record before its children; a later one is recorded first, and created here.

    Children that exist already, from before a crash of the operator, are adopted.
    """
    assert observation.spec is not None
    message = waiting_message(observation.spec.nodes)
    if observation.record is None:
        return Decision(Phase.STARTING, PODS_REQUESTED, message, attempt=AttemptChange.BEGIN, create=True)
    if observation.awaits_children:
        return Decision(Phase.STARTING, PODS_REQUESTED, message, create=True)
    return None


def waiting_message(nodes: int) -> str:
    """What a job that starts is waiting for."""
    return f"waiting for {nodes} pod{'s' if nodes > 1 else ''} to start training"
