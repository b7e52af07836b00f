"""Sizes of the trainer's own kernels that the estimate of memory has to know."""

from __future__ import annotations

FLOAT_PORTION = 256
"""Tokens whose logits the loss has in float32 at once."""
