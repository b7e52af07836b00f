"""Refuses what the CRD's own rules cannot: before a pod exists, and until the spec is changed."""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation

NO_IMAGE = (
    "node.image is not set and the operator has no trainer image of its own; "
    "write node.image, or install the chart with trainer.image"
)


def refuse_invalid_spec(observation: Observation) -> Decision | None:
    """Accepted=False for a spec that does not fit the API, or that names no image. What runs already, runs on."""
    phase = Phase(observation.status.phase or Phase.PENDING)
    if observation.spec is None:
        return Decision(phase, "Invalid", observation.spec_error, accepted=False)
    needs_image = observation.record is None or observation.awaits_children
    if needs_image and not (observation.spec.node.image or observation.defaults.image):
        return Decision(phase, "NoTrainerImage", NO_IMAGE, accepted=False)
    return None
