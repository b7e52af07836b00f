"""What the output layer and the loss need, where the float32 logits of a large vocabulary are most of it."""

from __future__ import annotations

from dataclasses import dataclass

from qlora_api.estimate.config import ModelConfig

FLOAT = 4


@dataclass(frozen=True)
class HeadBytes:
    """Bytes of the loss for all tokens of a micro-batch."""

    forward: float
    """At most, until the loss is known."""
    backward: float
    """At most, until the gradient of the last hidden state is known."""


def head_bytes(config: ModelConfig, tokens: int, size: int) -> HeadBytes:
    """After rank/loss.py: logits in the compute type, their float32 copy, and log_softmax, which alone is kept.

    Backwards there are log_softmax, the gradient of the likelihoods and the gradient of the logits, all float32; and
    for the last norm five tensors of the token's width.
    Every token is taken to be learned; where fewer are, this is less.

    Args:
        config: of the model.
        tokens: of a micro-batch.
        size: bytes of the compute type.
    """
    copy = FLOAT if size != FLOAT else 0
    logits = tokens * config.vocabulary
    capped = 3 * size if config.has_soft_cap else 0  # logits / cap, tanh of it, and the product (Gemma)
    return HeadBytes(
        forward=logits * (size + copy + FLOAT + capped),
        backward=max(logits * (3 * FLOAT + capped), tokens * config.width * 5 * FLOAT),
    )
