"""`spec.node`: one pod of the job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qlora_api.base import ApiModel
from qlora_api.quantity import CpuQuantity, MemoryQuantity
from qlora_api.spec.texts import Accelerator, Image, LabelText


class ResourcesSpec(ApiModel):
    """CPU and memory of one pod. Memory is request and limit, CPU a request only."""

    cpu: CpuQuantity | None = None
    """CPU cores requested, such as 8 or 500m."""
    memory: MemoryQuantity | None = None
    """Memory requested and at most used, such as 64Gi."""


class TolerationSpec(ApiModel):
    """A taint that the pods accept, as in a pod's own tolerations."""

    key: LabelText | None = None
    """Key of the taint. Empty with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists: any value; Equal: this value."""
    value: LabelText | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """With NoExecute: how long the pod stays."""


class NodeSpec(ApiModel):
    """One node of the job: one pod, with its slots, image and resources."""

    slots: Annotated[int, Field(ge=1, le=16)] = 1
    """Ranks on the node, one for each accelerator."""
    accelerator: Accelerator = "nvidia.com/gpu"
    """Resource that a slot takes, such as nvidia.com/gpu; or cpu, for training without a GPU."""
    image: Image | None = None
    """Trainer image. Default: the one that the operator was installed with."""
    resources: ResourcesSpec = ResourcesSpec()
    """CPU and memory of the pod."""
    node_selector: Annotated[dict[str, LabelText], Field(max_length=32)] = {}
    """Labels that a Kubernetes node must have."""
    tolerations: Annotated[list[TolerationSpec], Field(max_length=32)] = []
    """Taints of Kubernetes nodes that the pods accept."""
