"""What reading the base takes under ZeRO-3: what a rank keeps of it, and the weight that is being read."""

from __future__ import annotations

from math import ceil, prod

from qlora_api.estimate.base import BLOCK, BYTES, BaseBytes, Shapes, linears, rounded
from qlora_api.shares import FOUR_BITS, is_shared_out, why_whole
from qlora_api.spec import QLoRAJobSpec

CONSTANT = 4
"""Bytes of a block's constant while it is made; with double quantisation there is a copy of it without its mean."""


def reading_parts(spec: QLoRAJobSpec, shapes: Shapes, base: BaseBytes, world_size: int) -> dict[str, int]:
    """Bytes on the device when most of the base has been read, by what they are for.

    Args:
        spec: the job's, of stage 3.
        shapes: of the weights.
        base: what it takes whole.
        world_size: ranks.
    """
    is_whole = is_shared_out(spec) and why_whole(spec) is not None
    is_away = spec.deepspeed.offload_parameters == "cpu"
    parts = world_size if not is_whole else 1
    kept = 0 if is_away and not is_whole else (base.weights + base.unquantised) // parts
    return {
        "base, whole" if is_whole else "share of the base": kept,
        "quantisation constants": base.constants,
        "the weight that is read": largest_bytes(spec, shapes),
    }


def largest_bytes(spec: QLoRAJobSpec, shapes: Shapes) -> int:
    """The most that one weight takes while it is read: in the compute type and, if it is quantised, in 4 bits too."""
    size = BYTES[spec.compute_dtype]
    quantised = {f"{linear.module}.weight" for linear in linears(shapes)}
    copies = 1 if spec.quantization.double_quant is False else 2

    def needed(name: str, numel: int) -> int:
        whole = rounded(numel * size)
        if spec.quantization.type not in FOUR_BITS or name not in quantised:
            return whole
        return whole + rounded(ceil(numel / 2)) + copies * rounded(CONSTANT * ceil(numel / BLOCK))

    return max((needed(name, prod(shape)) for name, shape in shapes.items()), default=0)
