"""Ends a job whose pods have all succeeded."""

from __future__ import annotations

from qlora_api import report
from qlora_api.status import Phase
from qlora_operator.plan.last_words import last_words
from qlora_operator.plan.types import Decision, Observation


def succeed_with_output(observation: Observation) -> Decision | None:
    """Succeeded once the Job is complete: every completion index has succeeded."""
    if observation.job is None or not observation.job.complete:
        return None
    words = last_words(observation.pods)
    return Decision(Phase.SUCCEEDED, "Succeeded", _message(words), report=words)


def _message(words: report.Termination | None) -> str:
    if words is None or words.step is None:
        return "all pods have succeeded"
    return words.message or f"trained {words.step} steps"
