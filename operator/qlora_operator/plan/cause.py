"""Why an attempt failed: the first cause over all its pods.

When one rank dies the others fail too, a moment later and with errors of their own; those come last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qlora_api import names, report
from qlora_api.reasons import CONSEQUENCES, Reason
from qlora_operator.views import ContainerView, PodView, Terminated

DISRUPTIONS = {
    "PreemptionByScheduler": (Reason.PREEMPTED, "the scheduler gave its place to a pod of higher priority"),
    "DeletionByTaintManager": (Reason.NODE_LOST, "its node does not answer, or was tainted"),
    "DeletionByPodGC": (Reason.NODE_LOST, "its node is gone"),
    "EvictionByEvictionAPI": (Reason.EVICTED, "it was evicted, as by a drain of its node"),
    "TerminationByKubelet": (Reason.EVICTED, "its node ran short of resources or was shut down"),
}
"""Reasons of a pod's DisruptionTarget condition, as Kubernetes sets them."""


VAGUE = frozenset({Reason.LAUNCHER_VANISHED, Reason.TRAINER_FAILED})
"""What a pod says that does not know why; the kubelet may."""

STOPPED_CODES = frozenset({128 + 9, 128 + 15})
"""Exit codes of a container that ends by SIGKILL or SIGTERM."""


@dataclass(frozen=True)
class Cause:
    """The failure of one pod."""

    reason: str
    message: str
    pod: PodView
    began_at: str
    """When the pod failed; of one that was deleted, when that was asked for."""
    report: report.Termination | None = None

    @property
    def order(self) -> tuple[bool, str, int]:
        """Sorts the first cause to the front."""
        return self.reason in CONSEQUENCES, self.began_at or "~", self.pod.completion_index


def first_cause(pods: Iterable[PodView], lost_nodes: frozenset[str] = frozenset()) -> Cause | None:
    """The failure that came first, or None if no pod has failed."""
    causes = [cause for pod in pods if (cause := cause_of(pod, lost_nodes)) is not None]
    return min(causes, key=lambda cause: cause.order, default=None)


def cause_of(pod: PodView, lost_nodes: frozenset[str] = frozenset()) -> Cause | None:
    """Why one pod failed, or None if it has not.

    What the cluster did to the pod comes before what the pod says of it: a trainer that is evicted only knows that
    it was asked to stop.
    """
    ended = _ended(pod)
    words = _words(ended[1]) if ended else None
    finished_at = ended[1].finished_at if ended else ""
    if pod.disruption in DISRUPTIONS and (words is None or words.reason in CONSEQUENCES):
        reason, what = DISRUPTIONS[pod.disruption]
        return Cause(reason, f"pod {pod.metadata.name}: {what}", pod, finished_at, words)
    if pod.reason == "Evicted":
        return Cause(Reason.EVICTED, pod.message, pod, finished_at, words)
    if pod.node in lost_nodes and not pod.finished:
        return Cause(Reason.NODE_LOST, f"node {pod.node} of pod {pod.metadata.name} does not answer", pod, "")
    if ended is not None and pod.metadata.deleting and _was_stopped(ended[1], words):
        return Cause(Reason.POD_LOST, f"pod {pod.metadata.name} was deleted", pod, pod.deletion_requested_at, words)
    if ended is not None:
        return _cause_of_container(pod, *ended, words)
    if pod.phase == "Failed":
        message = pod.message or f"the pod failed without a word ({pod.reason or 'no reason given'})"
        return Cause(Reason.POD_LOST, message, pod, "")
    return None


def _ended(pod: PodView) -> tuple[ContainerView, Terminated] | None:
    """The first container that ended with an error, and how."""
    for name in (names.INIT_CONTAINER, names.TRAINER_CONTAINER):
        container = pod.container(name)
        if container and container.terminated and container.terminated.exit_code != 0:
            return container, container.terminated
    return None


def _was_stopped(ended: Terminated, words: report.Termination | None) -> bool:
    return ended.exit_code in STOPPED_CODES if words is None else words.reason == Reason.STOPPED


def _words(ended: Terminated) -> report.Termination | None:
    return report.Termination.from_untrusted(ended.message, report.TERMINATION_LIMIT)


def _cause_of_container(
    pod: PodView, container: ContainerView, ended: Terminated, words: report.Termination | None
) -> Cause:
    if ended.reason == "OOMKilled" and (words is None or words.reason in VAGUE):
        message = f"container {container.name} used more memory than node.resources.memory allows; write a larger value"
        return Cause(Reason.HOST_OUT_OF_MEMORY, message, pod, ended.finished_at, words)
    if words is not None and words.reason is not None:
        return Cause(words.reason, words.message, pod, ended.finished_at, words)
    last_line = next((line for line in reversed(ended.message.splitlines()) if line.strip()), "no output")
    message = f"container {container.name} exited with code {ended.exit_code}: {last_line.strip()[:1000]}"
    return Cause(Reason.TRAINER_FAILED, message, pod, ended.finished_at)
