"""What the next attempt holds at once after one whose GPUs had too little memory: `training.onGPUOutOfMemory`."""

from __future__ import annotations

from typing import NamedTuple

from qlora_api.portion import HALVE, Portion, smaller
from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_api.spec import QLoRAJobSpec


class StepDown(NamedTuple):
    """How a job goes on with less at once."""

    portion: Portion
    """What a rank of the next attempt holds."""
    message: str
    """What happened and what follows, as a sentence."""


def step_down(
    spec: QLoRAJobSpec, reason: str | None, words: Termination | None, recorded: Portion | None
) -> StepDown | None:
    """How the job goes on; None if the failure is none of this kind, or nothing smaller is left.

    What a pod tells of its portion is believed only where nobody else knows, so that the ladder comes to an end.

    Args:
        spec: the job's.
        reason: why the attempt failed.
        words: last words of the pod that failed first; they name a portion if memory ran out in training.
        recorded: what the attempt was told to hold; None if the job or the trainer itself has chosen it.
    """
    training = spec.training
    if training.on_gpu_out_of_memory != HALVE or reason != Reason.GPU_OUT_OF_MEMORY:
        return None
    if words is None or not words.micro_batch_size:
        return None
    size, checkpointing = training.micro_batch_size, training.gradient_checkpointing
    if training.fit == "auto":
        size, checkpointing = words.micro_batch_size, bool(words.gradient_checkpointing)
    before = recorded or Portion(micro_batch_size=size, gradient_checkpointing=checkpointing)
    after = smaller(spec, before)
    if after is None:
        return None
    halved = after.micro_batch_size < before.micro_batch_size
    what = str(after.micro_batch_size) if halved else "gradient checkpointing"
    return StepDown(after, f"GPU out of memory with micro-batch {before.micro_batch_size}; goes on with {what}")
