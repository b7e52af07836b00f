"""Whether a rank ever holds the base whole under ZeRO-3."""

from __future__ import annotations

from qlora_api.methods import FROM_WEIGHTS
from qlora_api.spec import QLoRAJobSpec

FOUR_BITS = ("nf4", "fp4")


def is_shared_out(spec: QLoRAJobSpec) -> bool:
    """Whether each rank holds a share of the base, in 4 bits."""
    return spec.deepspeed.zero_stage == 3 and spec.quantization.type in FOUR_BITS


def why_whole(spec: QLoRAJobSpec) -> str | None:
    """Why the adapter needs a whole base of 4 bits to begin with; None if shares are enough for it."""
    adapter = spec.adapter
    if adapter.method in (*FROM_WEIGHTS, "dora"):
        return f"adapter.method: {adapter.method} takes its first values from whole weights"
    if adapter.trainable_tokens:
        return "adapter.trainableTokens takes its first values from the whole embedding"
    if adapter.towers is not None:
        return "adapter.towers looks into the whole model"
    return None
