"""What the operator keeps of each Kubernetes object: the few fields that decisions need.

Whole objects would cost the memory several times over, so the cache holds these only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from qlora_api import names
from qlora_operator.times import parse_timestamp, timestamp

Body = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace and name of a QLoRAJob."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Identity of an object and of the QLoRAJob that it belongs to."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    deleting: bool
    owner_uid: str | None
    job: str | None
    attempt: int | None

    @classmethod
    def of(cls, body: Body) -> Metadata:
        """Reads `metadata`; the owner is the controlling one."""
        metadata = body["metadata"]
        labels = metadata.get("labels") or {}
        owners = metadata.get("ownerReferences") or []
        return cls(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=int(metadata["resourceVersion"]),
            deleting="deletionTimestamp" in metadata,
            owner_uid=next((owner["uid"] for owner in owners if owner.get("controller")), None),
            job=labels.get(names.LABEL_JOB),
            attempt=_number(labels.get(names.LABEL_ATTEMPT)),
        )


@dataclass(frozen=True, slots=True)
class ResourceView:
    """A QLoRAJob."""

    metadata: Metadata
    created_at: str
    generation: int
    spec: Body
    status: Body

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name


@dataclass(frozen=True, slots=True)
class ChildView:
    """A Service or ConfigMap: that it exists is all that matters."""

    metadata: Metadata


@dataclass(frozen=True, slots=True)
class JobView:
    """A batch Job: one attempt."""

    metadata: Metadata
    complete: bool
    failing: bool
    """Failed, or about to be: the Job controller has given the attempt up and ends the other pods."""
    message: str
    suspended: bool
    """Has no pods, or loses them: a queue has not admitted it, or has taken its place back."""
    queue: str | None
    priority_class: str | None
    succeeded: int
    """Pods that have succeeded and will not be created again."""

    @property
    def is_live(self) -> bool:
        """Whether it has pods, or may create some."""
        return not (self.failing or self.complete or self.metadata.deleting)

    @property
    def holds_place(self) -> bool:
        """Whether it keeps a place in a queue, which a failing Job does too until it is resumed."""
        return self.suspended and not (self.complete or self.metadata.deleting)


@dataclass(frozen=True, slots=True)
class Terminated:
    """How a container ended."""

    exit_code: int
    reason: str
    message: str
    finished_at: str


@dataclass(frozen=True, slots=True)
class ContainerView:
    """State of one container of a pod."""

    name: str
    running: bool
    waiting_reason: str | None
    waiting_message: str
    terminated: Terminated | None


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of an attempt."""

    metadata: Metadata
    job_uid: str
    """UID of the QLoRAJob, by label."""
    completion_index: int
    phase: str
    reason: str
    message: str
    node: str | None
    ip: str | None
    unschedulable: str | None
    """The scheduler's sentence, while it finds no node."""
    scheduled_at: str
    """When it was given a node, or ""."""
    disruption: str | None
    """Reason of the DisruptionTarget condition: eviction, preemption, node loss."""
    ready: bool
    """False also while the node does not answer, whatever the containers do."""
    containers: tuple[ContainerView, ...]
    forced: bool
    """Deleted without waiting for its node."""
    deletion_requested_at: str
    """When somebody asked for its deletion, or ""."""

    @property
    def finished(self) -> bool:
        """Whether all its containers have ended for good."""
        return self.phase in ("Succeeded", "Failed")

    def container(self, name: str) -> ContainerView | None:
        """The state of the container of that name, once the kubelet has told it."""
        return next((container for container in self.containers if container.name == name), None)


View = ResourceView | ChildView | JobView | PodView


def resource_view(body: Body) -> ResourceView:
    """Keeps a QLoRAJob's spec and status."""
    metadata = Metadata.of(body)
    return ResourceView(
        metadata=metadata,
        created_at=body["metadata"].get("creationTimestamp", ""),
        generation=body["metadata"].get("generation", 0),
        spec=body.get("spec") or {},
        status=body.get("status") or {},
    )


def child_view(body: Body) -> ChildView:
    """Keeps the identity of a Service or ConfigMap."""
    return ChildView(Metadata.of(body))


def job_view(body: Body) -> JobView:
    """Keeps how far a batch Job is."""
    conditions = _true_conditions(body)
    failed = conditions.get("FailureTarget") or conditions.get("Failed")
    labels = body["metadata"].get("labels") or {}
    return JobView(
        metadata=Metadata.of(body),
        complete="Complete" in conditions or "SuccessCriteriaMet" in conditions,
        failing=failed is not None,
        message=(failed or {}).get("message", ""),
        suspended=(body.get("spec") or {}).get("suspend", False),
        queue=labels.get(names.LABEL_QUEUE),
        priority_class=labels.get(names.LABEL_PRIORITY_CLASS),
        succeeded=(body.get("status") or {}).get("succeeded", 0),
    )


def pod_view(body: Body) -> PodView:
    """Keeps where a pod is and how its containers stand."""
    status = body.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    labels = body["metadata"].get("labels") or {}
    return PodView(
        metadata=Metadata.of(body),
        job_uid=labels.get(names.LABEL_JOB_UID, ""),
        completion_index=_number(labels.get(names.LABEL_COMPLETION_INDEX)) or 0,
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        node=(body.get("spec") or {}).get("nodeName"),
        ip=status.get("podIP"),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        scheduled_at=scheduled.get("lastTransitionTime", "") if scheduled.get("status") == "True" else "",
        disruption=disruption.get("reason") if disruption.get("status") == "True" else None,
        ready=conditions.get("Ready", {}).get("status") == "True",
        containers=tuple(_container_view(status) for status in statuses),
        forced=body["metadata"].get("deletionGracePeriodSeconds") == 0,
        deletion_requested_at=_deletion_requested_at(body["metadata"]),
    )


def _deletion_requested_at(metadata: Body) -> str:
    """Kubernetes keeps when the pod should be gone, which is its grace period later."""
    if "deletionTimestamp" not in metadata:
        return ""
    grace_period = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    return timestamp(parse_timestamp(metadata["deletionTimestamp"]) - grace_period)


def _number(label: str | None) -> int | None:
    """The number in a label; anybody may have written anything into it."""
    return int(label) if label is not None and label.isdecimal() else None


def _true_conditions(body: Body) -> dict[str, Body]:
    conditions = (body.get("status") or {}).get("conditions") or []
    return {condition["type"]: condition for condition in conditions if condition["status"] == "True"}


def _container_view(status: Body) -> ContainerView:
    state = status.get("state") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated")
    return ContainerView(
        name=status["name"],
        running="running" in state,
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message", ""),
        terminated=ended
        and Terminated(
            exit_code=ended.get("exitCode", -1),
            reason=ended.get("reason", ""),
            message=ended.get("message", ""),
            finished_at=ended.get("finishedAt", ""),
        ),
    )


def node_is_ready(body: Body) -> bool:
    """Whether a node answers, as its Ready condition says."""
    return "Ready" in _true_conditions(body)


@dataclass(frozen=True)
class Kind:
    """A kind of object that is watched."""

    name: str
    group: str
    version: str
    plural: str
    view: Callable[[Body], View]

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """URL path of the collection in a namespace, in all namespaces, or of one object."""
        prefix = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{prefix}{within}/{self.plural}" + (f"/{name}" if name else "")


QLORA_JOB = Kind(names.KIND, names.GROUP, names.VERSION, names.PLURAL, resource_view)
SERVICE = Kind("Service", "", "v1", "services", child_view)
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps", child_view)
JOB = Kind("Job", "batch", "v1", "jobs", job_view)
POD = Kind("Pod", "", "v1", "pods", pod_view)

LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases", child_view)
NODE = Kind("Node", "", "v1", "nodes", child_view)
WORKLOAD = Kind("Workload", "kueue.x-k8s.io", "v1beta2", "workloads", child_view)

KINDS = (QLORA_JOB, SERVICE, CONFIG_MAP, JOB, POD)
"""What is watched."""
KIND_BY_NAME = {kind.name: kind for kind in KINDS}
