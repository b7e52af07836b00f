"""What the pods of an attempt said at its end.

The Job and its pods are watched apart: the end of the Job may be told before that of its pods, or theirs not at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from qlora_api import names, report
from qlora_operator.plan.types import Observation
from qlora_operator.views import PodView


def lacks_last_words(observation: Observation) -> bool:
    """Whether the attempt has ended and its pods should be read anew before anything is made of that.

    A failure is looked for over all pods, so that one of which nobody told yet might be the cause.
    """
    job = observation.job
    has_ended = observation.record is not None and not observation.is_open
    if job is None or has_ended or observation.status.is_final:
        return False
    return job.failing or (job.complete and last_words(observation.pods) is None)


def last_words(pods: Iterable[PodView]) -> report.Termination | None:
    """What the pod of completion index 0 said at its end."""
    for pod in pods:
        container = pod.container(names.TRAINER_CONTAINER)
        if pod.completion_index == 0 and container and container.terminated:
            return report.Termination.from_untrusted(container.terminated.message, report.TERMINATION_LIMIT)
    return None
