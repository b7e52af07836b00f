"""Ends a job whose attempt has failed."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_api.status import Phase
from qlora_operator.plan.cause import first_cause
from qlora_operator.plan.types import Decision, Observation


def fail_with_first_cause(observation: Observation) -> Decision | None:
    """Failed once the Job controller has given the attempt up, with the reason of the pod that failed first."""
    job = observation.job
    if job is None or not job.failing:
        return None
    cause = first_cause(observation.pods)
    if cause is None:
        return Decision(Phase.FAILED, Reason.POD_LOST, job.message or "the Job failed and left no pod that tells why")
    return Decision(
        Phase.FAILED,
        cause.reason,
        cause.message,
        pod=cause.pod.metadata.name,
        node=cause.pod.node,
        report=cause.report,
    )
