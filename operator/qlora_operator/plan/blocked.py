"""Says why pods do not start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qlora_api.reasons import Reason
from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation
from qlora_operator.views import PodView

IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
CONTAINER_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Blocked:
    """A pod that is stuck before its start, in the scheduler's or the kubelet's own words."""

    reason: str
    message: str
    pod: str


def report_blocked_pods(observation: Observation) -> Decision | None:
    """Starting, with what the first stuck pod is stuck on."""
    blocked = first_blocked(observation.pods)
    if blocked is None:
        return None
    return Decision(Phase.STARTING, blocked.reason, f"pod {blocked.pod}: {blocked.message}", pod=blocked.pod)


def first_blocked(pods: Iterable[PodView]) -> Blocked | None:
    """The stuck pod of the lowest completion index, or None."""
    return next((blocked for pod in pods if (blocked := _blocked(pod)) is not None), None)


def _blocked(pod: PodView) -> Blocked | None:
    name = pod.metadata.name
    if pod.unschedulable is not None:
        return Blocked(Reason.UNSCHEDULABLE, pod.unschedulable, name)
    for container in pod.containers:
        if container.waiting_reason in IMAGE_REASONS:
            return Blocked(Reason.IMAGE_PULL, container.waiting_message, name)
        if container.waiting_reason in CONTAINER_REASONS:
            return Blocked("ContainerConfig", container.waiting_message, name)
    return None
