"""Why an attempt failed: the first cause over all its pods.

When one rank dies the others fail too, a moment later and with errors of their own; those come last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qlora_api import names, report
from qlora_api.reasons import Reason
from qlora_operator.views import ContainerView, PodView, Terminated

CONSEQUENCES = frozenset({Reason.STOPPED, Reason.PEER_LOST, Reason.COLLECTIVE_TIMEOUT, Reason.POD_LOST})
"""Reasons that are usually the echo of a fault in another pod."""


@dataclass(frozen=True)
class Cause:
    """The failure of one pod."""

    reason: str
    message: str
    pod: PodView
    finished_at: str
    report: report.Termination | None = None

    @property
    def order(self) -> tuple[bool, str, int]:
        """Sorts the first cause to the front."""
        return self.reason in CONSEQUENCES, self.finished_at or "~", self.pod.completion_index


def first_cause(pods: Iterable[PodView]) -> Cause | None:
    """The failure that came first, or None if no pod has failed."""
    causes = [cause for pod in pods if (cause := cause_of(pod)) is not None]
    return min(causes, key=lambda cause: cause.order, default=None)


def cause_of(pod: PodView) -> Cause | None:
    """Why one pod failed, or None if it has not."""
    for name in (names.INIT_CONTAINER, names.TRAINER_CONTAINER):
        container = pod.container(name)
        if container and container.terminated and container.terminated.exit_code != 0:
            return _cause_of_container(pod, container, container.terminated)
    if pod.phase == "Failed":
        message = pod.message or f"the pod failed without a word ({pod.reason or 'no reason given'})"
        return Cause(Reason.POD_LOST, message, pod, "")
    return None


def _cause_of_container(pod: PodView, container: ContainerView, ended: Terminated) -> Cause:
    words = report.Termination.from_untrusted(ended.message, report.TERMINATION_LIMIT)
    if words is not None and words.reason is not None:
        return Cause(words.reason, words.message, pod, ended.finished_at, words)
    if ended.reason == "OOMKilled":
        message = f"container {container.name} used more memory than node.resources.memory allows; write a larger value"
        return Cause(Reason.HOST_OUT_OF_MEMORY, message, pod, ended.finished_at)
    last_line = next((line for line in reversed(ended.message.splitlines()) if line.strip()), "no output")
    message = f"container {container.name} exited with code {ended.exit_code}: {last_line.strip()[:1000]}"
    return Cause(Reason.TRAINER_FAILED, message, pod, ended.finished_at)
