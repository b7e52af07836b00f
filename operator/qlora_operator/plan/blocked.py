"""Says why pods do not start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qlora_api.reasons import Reason
from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation
from qlora_operator.views import PodView

IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
SLOW_START = 60.0
"""Seconds after which it is told that the containers of a pod have not started."""
CONTAINER_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Blocked:
    """A pod that is stuck before its start, in the scheduler's or the kubelet's own words."""

    reason: str
    message: str
    pod: str


def report_blocked_pods(observation: Observation) -> Decision | None:
    """Starting, with what the first stuck pod is stuck on."""
    blocked = first_blocked(observation.pods) or _first_slow(observation)
    if blocked is None:
        return None
    return Decision(Phase.STARTING, blocked.reason, f"pod {blocked.pod}: {blocked.message}", pod=blocked.pod)


def first_blocked(pods: Iterable[PodView]) -> Blocked | None:
    """The stuck pod of the lowest completion index, or None."""
    return next((blocked for pod in pods if (blocked := _blocked(pod)) is not None), None)


def _first_slow(observation: Observation) -> Blocked | None:
    """The kubelet tells in Events only why a volume cannot be mounted, or a container not be made."""
    for pod in observation.pods:
        begun = any(container.running or container.terminated for container in pod.containers)
        if begun or not pod.scheduled_at or observation.age_of(pod.scheduled_at) < SLOW_START:
            continue
        message = (
            f"on node {pod.node} for more than {SLOW_START:.0f} s, and its containers have not started; is its image "
            f"still pulled, or can a volume not be mounted? kubectl describe pod {pod.metadata.name}"
        )
        return Blocked("ContainersNotStarted", message, pod.metadata.name)
    return None


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
