"""Begins an attempt."""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation

PODS_REQUESTED = "PodsRequested"


def start_attempt(observation: Observation) -> Decision | None:
    """A job whose attempt is not recorded yet gets its children; the ones that exist already are adopted."""
    if observation.started:
        return None
    assert observation.spec is not None
    return Decision(Phase.STARTING, PODS_REQUESTED, waiting_message(observation.spec.nodes))


def waiting_message(nodes: int) -> str:
    """What a job that starts is waiting for."""
    return f"waiting for {nodes} pod{'s' if nodes > 1 else ''} to start training"
