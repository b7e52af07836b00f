"""One decoder layer as a function of its weights, so that compiling it once is enough for all layers of a shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from qlora_trainer.fused.attention import flash_attention, masked_attention
from qlora_trainer.fused.description import LayerShape, LayerWeights
from qlora_trainer.fused.gate import gate
from qlora_trainer.fused.groups import apply


class Places(NamedTuple):
    """Where tokens stand; the same for all layers of a kind."""

    cosine: Tensor
    """Of the angles by which half of a head's width is turned: float32 of shape (tokens, 1, half)."""
    sine: Tensor
    boundaries: Tensor
    """Where documents begin, and the last one ends: int32 of shape (documents + 1,)."""
    longest: Tensor
    """Tokens of the longest document, on the CPU."""
    mask: Tensor | None
    """Which token sees which, where there is no flash attention: bool of shape (tokens, tokens)."""


LayerFunction = Callable[[Tensor, Places, LayerWeights], Tensor]


def layer_function(shape: LayerShape) -> LayerFunction:
    """The layer: (tokens, width) and its weights to (tokens, width)."""
    keys = shape.key_heads * shape.head_width
    parts = [shape.heads * shape.head_width, keys, keys]

    def normed(x: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(x, weight, shape.epsilon, shape.one)

    def attend(x: Tensor, places: Places, weights: LayerWeights) -> Tensor:
        all_three = torch.split(apply(x, weights.into, shape.into), parts, dim=1)
        query, key, value = [part.view(x.shape[0], -1, shape.head_width) for part in all_three]
        if shape.has_head_norms:
            query, key = normed(query, weights.norms[1]), normed(key, weights.norms[2])
        if shape.rotates:
            query, key = rotated(query, places), rotated(key, places)
        if places.mask is None:
            inner = flash_attention(
                query, key, value, places.boundaries, places.longest, shape.window, shape.scale
            )[0]  # fmt: skip
        else:
            inner = masked_attention(query, key, value, places.mask, shape.scale)
        return apply(inner.reshape(x.shape[0], -1), weights.out, shape.out)

    def feed_forward(x: Tensor, weights: LayerWeights) -> Tensor:
        return apply(gate(apply(x, weights.expand, shape.expand), shape.is_gelu), weights.end, shape.end)

    def plain(x: Tensor, places: Places, weights: LayerWeights) -> Tensor:
        x = x + attend(normed(x, weights.norms[0]), places, weights)
        return x + feed_forward(normed(x, weights.norms[-1]), weights)

    def sandwich(x: Tensor, places: Places, weights: LayerWeights) -> Tensor:
        after_attention, before, after = weights.norms[-3:]
        x = x + normed(attend(normed(x, weights.norms[0]), places, weights), after_attention)
        return x + normed(feed_forward(normed(x, before), weights), after)

    return sandwich if shape.is_sandwich else plain


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, one: float) -> Tensor:
    """RMSNorm of the last dimension, computed in float32, times `one` + weight."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return (wide * scale * (weight.float() + one)).to(x.dtype)


def rotated(x: Tensor, places: Places) -> Tensor:
    """Heads turned by their positions, as far as angles reach: (tokens, heads, width)."""
    half = places.cosine.shape[-1]
    left, right = x[..., :half].float(), x[..., half : 2 * half].float()
    parts = [left * places.cosine - right * places.sine, right * places.cosine + left * places.sine]
    if 2 * half < x.shape[-1]:
        parts.append(x[..., 2 * half :].float())
    return torch.cat(parts, dim=-1).to(x.dtype)
