"""What the output layer and the loss need, where the logits of a large vocabulary are most of it."""

from __future__ import annotations

from dataclasses import dataclass

from qlora_api.estimate.config import ModelConfig
from qlora_api.kernels import FLOAT_PORTION

FLOAT = 4


@dataclass(frozen=True)
class HeadBytes:
    """Bytes of the loss for all tokens of a micro-batch."""

    forward: float
    """At most, until the loss is known."""
    backward: float
    """At most, until the gradient of the last hidden state is known."""


def head_bytes(config: ModelConfig, tokens: int, size: int) -> HeadBytes:
    """After rank/likelihood.py: logits in the compute type, which are kept, and a portion of them in float32.

    Backwards there are the logits, their gradient in the compute type, and a portion of that in float32. Where logits
    go through tanh (Gemma), its result is kept as well. For the last norm there are five tensors of the token's width.
    Every token is taken to be learned; where fewer are, this is less.

    Args:
        config: of the model.
        tokens: of a micro-batch.
        size: bytes of the compute type.
    """
    logits = tokens * config.vocabulary * size
    portion = min(tokens, FLOAT_PORTION) * config.vocabulary * FLOAT
    kept = 2 * logits if config.has_soft_cap else logits
    return HeadBytes(
        forward=kept + portion,
        backward=max(kept + logits + portion, tokens * config.width * 5 * FLOAT),
    )
