"""What training needs besides the base: gradients, optimizer, DeepSpeed's own buffers.

After deepspeed 0.19.8, runtime/zero/stage_1_and_2.py and stage3.py. P is the number of trained parameters, w the
number of ranks. All is float32, since the job's configuration has no bf16 block.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlora_api.spec import QLoRAJobSpec

FLOAT = 4
BFLOAT16 = 2
LARGEST_BUCKET = 20_000_000
"""Elements of DeepSpeed's bucket of gradients, unless the job's own configuration says otherwise. DeepSpeed's 5e8
would take 2 GB, which no adapter needs: beyond some 10 MB a message is as fast as the network."""
BLOCK_OF_MOMENTS = 256
"""Elements of a moment in 8 bits that share a scale of 4 bytes (bitsandbytes/optim/optimizer.py)."""


@dataclass(frozen=True)
class Trained:
    """Bytes on one rank."""

    parameters: int
    """The adapter, and with ZeRO the copy of this rank's share that the optimizer steps on."""
    moments: int
    """The optimizer's state."""
    accumulated: int
    """Gradients that are there when a backward pass begins."""
    gradients: int
    """Gradients when it has ended."""
    bucket: int
    """DeepSpeed's buffer of gradients on their way to the other ranks."""
    bucket_stays: bool
    """Whether the bucket is there when a backward pass begins."""
    reduction: int
    """Beside the gradients, while they are summed over the ranks."""
    step: int
    """Beside the share's moments, while the optimizer steps."""


def trained(parameters: int, spec: QLoRAJobSpec, world_size: int, accumulation: int) -> Trained:
    """What the trained parameters need.

    ZeRO 0 holds them, their gradients and moments. ZeRO 1 and 2 hold a flat copy of the share that this rank steps on.
    The bucket is allocated at the first gradient of a step. ZeRO 1 keeps all gradients until the step; ZeRO 2 those of
    the share. AdamW of torch holds one more tensor of the size of the share while it steps (`_multi_tensor_adamw`), and
    the flat gradient is a copy of the averaged ones. What travels in bfloat16 is one more copy, of half the size.

    Args:
        parameters: that are trained.
        spec: the job's.
        world_size: ranks.
        accumulation: micro-batches of a step.
    """
    stage, is_on_host = spec.deepspeed.zero_stage, spec.deepspeed.offload_optimizer == "cpu"
    whole = FLOAT * parameters
    share = whole if stage == 0 else FLOAT * -(-parameters // world_size)
    on_device = 0 if is_on_host else 1
    master = 0 if stage == 0 else share * on_device
    bucket = 0 if stage == 0 else FLOAT * bucket_elements(parameters, spec)
    gradients = whole if stage < 2 else share
    is_torch = spec.training.optimizer == "adamw"
    sent = FLOAT if spec.deepspeed.communication_dtype == "float32" else FLOAT + BFLOAT16
    held = whole if stage < 3 else FLOAT * -(-parameters // world_size)
    return Trained(
        parameters=held + master,
        moments=moments(share // FLOAT, spec) * on_device,
        accumulated=gradients if accumulation > 1 else 0,
        gradients=gradients,
        bucket=bucket,
        bucket_stays=stage == 3 or (stage == 1 and accumulation > 1),
        reduction=(share if stage else whole) // FLOAT * sent * on_device,
        step=(share + (share if is_torch else 0)) * on_device if stage else whole * (2 if is_torch else 1),
    )


def bucket_elements(parameters: int, spec: QLoRAJobSpec) -> int:
    """Elements of DeepSpeed's bucket: the job's own, or as many as there are gradients, up to a limit."""
    given = spec.deepspeed.config.get("zero_optimization", {}).get("reduce_bucket_size")
    if isinstance(given, int | float) and not isinstance(given, bool):
        return int(given)
    return max(1, min(parameters, LARGEST_BUCKET))


def moments(parameters: int, spec: QLoRAJobSpec) -> int:
    """Two moments: 4 bytes each, or one and a scale for each block. Pages move away when the GPU is full: none."""
    optimizer = spec.training.optimizer
    if optimizer.startswith("paged"):
        return 0
    if optimizer == "adamw-8bit":
        return 2 * (parameters + FLOAT * -(-parameters // BLOCK_OF_MOMENTS))
    return 2 * FLOAT * parameters
