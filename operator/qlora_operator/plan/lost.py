"""Ends a job whose batch Job somebody has deleted."""

from __future__ import annotations

from qlora_api import names
from qlora_api.reasons import Reason
from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation


def fail_without_job(observation: Observation) -> Decision | None:
    """Failed if the attempt is recorded and its Job is gone."""
    if observation.job is not None and not observation.job.metadata.deleting:
        return None
    name = names.attempt_name(observation.resource.metadata.name, observation.attempt)
    return Decision(Phase.FAILED, Reason.POD_LOST, f"Job {name} was deleted from outside, and its pods with it")
