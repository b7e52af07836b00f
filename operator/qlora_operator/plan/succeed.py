"""Ends a job whose pods have all succeeded."""

from __future__ import annotations

from qlora_api import names, report
from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation
from qlora_operator.views import PodView


def succeed_with_output(observation: Observation) -> Decision | None:
    """Succeeded once the Job is complete: every completion index has succeeded."""
    if observation.job is None or not observation.job.complete:
        return None
    last_words = _last_words(observation.pods)
    if last_words is None and _may_still_come(observation):
        return Decision(
            Phase.RUNNING,
            "PodsSucceeded",
            "all pods have succeeded; reading their results",
            requeue_after=1.0,
        )
    return Decision(Phase.SUCCEEDED, "Succeeded", _message(last_words), report=last_words)


def _last_words(pods: tuple[PodView, ...]) -> report.Termination | None:
    """What the pod of completion index 0 said at its end."""
    for pod in pods:
        container = pod.container(names.TRAINER_CONTAINER)
        if pod.completion_index == 0 and container and container.terminated:
            return report.Termination.from_untrusted(container.terminated.message, report.TERMINATION_LIMIT)
    return None


def _may_still_come(observation: Observation) -> bool:
    """The Job and its pods are watched apart: the pod's last words may come after the Job's completion."""
    first = next((pod for pod in observation.pods if pod.completion_index == 0), None)
    if first is None:
        return False
    container = first.container(names.TRAINER_CONTAINER)
    told = container is not None and container.terminated is not None
    return not told and first.phase != "Succeeded"


def _message(last_words: report.Termination | None) -> str:
    if last_words is None or last_words.step is None:
        return "all pods have succeeded"
    return last_words.message or f"trained {last_words.step} steps"
