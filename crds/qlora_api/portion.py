"""What a rank holds at once, and what comes next when its GPU's memory does not suffice for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qlora_api.base import ApiModel
from qlora_api.estimate.choose import ways
from qlora_api.spec import QLoRAJobSpec

HALVE = "halve-micro-batch"
"""Value of `training.onGPUOutOfMemory` that asks for less instead of failing."""


class Portion(ApiModel):
    """What a rank holds at once. The result of the training does not depend on it, but for dropout."""

    micro_batch_size: Annotated[int, Field(ge=1)]
    """Sequences."""
    gradient_checkpointing: bool
    """Whether activations are computed again in the backward pass."""


def smaller(spec: QLoRAJobSpec, portion: Portion) -> Portion | None:
    """The next portion that needs less memory, at the same global batch; None if there is none.

    It is half of the micro-batch, or the largest below that which divides a rank's share of the global batch. After a
    micro-batch of 1 it is gradient checkpointing, if the job has not forbidden it.
    """
    share = spec.training.global_batch_size // (spec.nodes * spec.node.slots)
    half = portion.micro_batch_size // 2
    sizes = (size for size in range(min(half, share), 0, -1) if share % size == 0)
    size = next(sizes, None)
    if size is not None:
        return portion.model_copy(update={"micro_batch_size": size})
    if not portion.gradient_checkpointing and ways(spec)[-1]:
        return portion.model_copy(update={"gradient_checkpointing": True})
    return None
