"""Refuses what the CRD's own rules cannot: before a pod exists, and until the spec is changed."""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation

NO_IMAGE = (
    "node.image is not set and the operator has no trainer image of its own; "
    "write node.image, or install the chart with trainer.image"
)


LOOK_AGAIN = 10.0
"""Seconds after which it is looked again whether another job has ended; it tells nobody but its own."""


def refuse_invalid_spec(observation: Observation) -> Decision | None:
    """Accepted=False for a spec that does not fit the API, or names no image, or an output that another job writes to.

    What runs already, runs on.
    """
    phase = Phase(observation.status.phase or Phase.PENDING)
    if observation.spec is None:
        return Decision(phase, "Invalid", observation.spec_error, accepted=False)
    starts = observation.record is None
    if starts and observation.output_user is not None:
        return Decision(phase, "OutputInUse", _in_use(observation), accepted=False, requeue_after=LOOK_AGAIN)
    needs_image = starts or observation.awaits_children
    if needs_image and not (observation.spec.node.image or observation.defaults.image):
        return Decision(phase, "NoTrainerImage", NO_IMAGE, accepted=False)
    return None


def _in_use(observation: Observation) -> str:
    assert observation.spec is not None
    return (
        f"output.destination {observation.spec.output.destination} is in use by QLoRAJob {observation.output_user}; "
        "write another folder, or wait until that job has ended"
    )
