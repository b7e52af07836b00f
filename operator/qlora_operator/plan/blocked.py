"""Says why pods do not start."""

from __future__ import annotations

from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation
from qlora_operator.views import PodView

IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
CONTAINER_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def report_blocked_pods(observation: Observation) -> Decision | None:
    """Starting, with the scheduler's or the kubelet's own sentence about the first pod that is stuck."""
    for pod in observation.pods:
        blocked = _blocked(pod)
        if blocked:
            reason, message = blocked
            return Decision(Phase.STARTING, reason, f"pod {pod.metadata.name}: {message}", pod=pod.metadata.name)
    return None


def _blocked(pod: PodView) -> tuple[str, str] | None:
    if pod.unschedulable is not None:
        return "Unschedulable", pod.unschedulable
    for container in pod.containers:
        if container.waiting_reason in IMAGE_REASONS:
            return "ImagePull", container.waiting_message
        if container.waiting_reason in CONTAINER_REASONS:
            return "ContainerConfig", container.waiting_message
    return None
