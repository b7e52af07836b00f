"""Rotary positions of queries and keys as one kernel, in the place of the function that transformers calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NAME = "apply_rotary_pos_emb"
"""Of the function in the modules of transformers. Some turn neighbours instead of halves, so each is tried."""
_HEADS, _WIDTH, _TOKENS = 2, 16, 3


def turn_by_kernel(base: Any) -> Callable[[], None]:
    """Replaces the function of a model's own module, if it computes what the kernel does. Returns what takes it back.

    Args:
        base: on a GPU.
    """
    module = sys.modules[type(base).__module__]
    plain = getattr(module, NAME, None)
    if plain is None or not is_usual(plain, base.device):
        return lambda: None

    def turned(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *more: Any, **named: Any) -> Any:
        if more or named or not _fits(query, cos):
            return plain(query, key, cos, sin, *more, **named)
        return _Turn.apply(query, cos, sin), _Turn.apply(key, cos, sin)

    setattr(module, NAME, turned)
    return lambda: setattr(module, NAME, plain)


def is_usual(plain: Callable[..., Any], device: torch.device) -> bool:
    """Whether a function turns the halves of each head, as the kernel does."""
    query = torch.randn(1, _HEADS, _TOKENS, _WIDTH, device=device)
    cos, sin = (torch.randn(1, _TOKENS, _WIDTH // 2, device=device).repeat(1, 1, 2) for _ in range(2))
    try:
        found = plain(query, query[:, :1], cos, sin)[0]
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    left, right = query.chunk(2, dim=-1)
    expected = query * cos[:, None] + torch.cat([-right, left], dim=-1) * sin[:, None]
    return found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5)


def _fits(query: Tensor, cos: Tensor) -> bool:
    return query.shape[0] == 1 and cos.dim() == 3 and cos.shape[-1] == query.shape[-1] and query.stride(-1) == 1


class _Turn(torch.autograd.Function):
    """(1, heads, tokens, width), with any strides but that of the width, to the same; each token's heads together."""

    @staticmethod
    def forward(context: Any, values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        context.save_for_backward(cos, sin)
        return _turn(values, cos, sin, 1.0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        given = gradients[0]
        given = given if given.stride(-1) == 1 else given.contiguous()
        cos, sin = context.saved_tensors
        return _turn(given, cos, sin, -1.0), None, None


def _turn(values: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    from triton import next_power_of_2

    from qlora_trainer.fused.kernels import turn

    _, heads, tokens, width = values.shape
    out = values.new_empty(1, tokens, heads, width)
    turn[(tokens, heads)](
        values, cos.contiguous(), sin.contiguous(), out, heads, values.stride(2), values.stride(1), sign,
        WIDTH=width, BLOCK=next_power_of_2(width // 2), num_warps=1,
    )  # fmt: skip
    return out.transpose(1, 2)
