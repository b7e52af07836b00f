"""Stops a job that its user has suspended."""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.budget import SUSPENDED
from qlora_operator.plan.last_words import last_words
from qlora_operator.plan.types import AttemptChange, Decision, Observation

MESSAGE = "runPolicy.suspend is true; the job goes on from its last checkpoint when it is false"
RESUMED = "Resumed"
"""Reason of what is told when a suspended job goes on."""
RESUME_MESSAGE = "runPolicy.suspend is false again; the job goes on from its last checkpoint"


def suspend_job(observation: Observation) -> Decision | None:
    """Ends the attempt, then deletes its Job: the pods write a checkpoint at SIGTERM, and say how far they came.

    Resuming is a new attempt.
    """
    assert observation.spec is not None
    if not observation.spec.run_policy.suspend:
        return None
    if observation.is_open:
        return Decision(Phase.SUSPENDED, SUSPENDED, MESSAGE, attempt=AttemptChange.END)
    record = observation.record
    words = last_words(observation.known_pods) if record is not None and record.reason == SUSPENDED else None
    return Decision(Phase.SUSPENDED, SUSPENDED, MESSAGE, delete_jobs=observation.live_jobs, report=words)
