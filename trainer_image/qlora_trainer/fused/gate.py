"""The gate of a feed-forward block: act(gate) * up, with act SiLU or GELU by tanh.

A kernel of its own, since what inductor makes of its gradient writes both halves and then copies them together.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from qlora_trainer.fused.device import runs_triton

ACTIVATIONS = {"silu": False, "swish": False, "gelu_pytorch_tanh": True}
"""Names that configurations give, and whether it is GELU."""
_COLUMNS = 2048


@torch.library.custom_op("qlora::gate", mutates_args=())
def gate(both: Tensor, is_gelu: bool) -> Tensor:
    """(tokens, 2 x width), the gate before what it multiplies, to (tokens, width)."""
    tokens, width = both.shape[0], both.shape[1] // 2
    if not runs_triton(both):
        return _plain(both, is_gelu)
    from qlora_trainer.fused.kernels import gate_forward

    out = both.new_empty(tokens, width)
    grid = tokens, -(-width // _COLUMNS)
    gate_forward[grid](both, out, width, both.stride(0), IS_GELU=is_gelu, BLOCK=_COLUMNS, num_warps=4)
    return out


@gate.register_fake
def _(both: Tensor, is_gelu: bool) -> Tensor:
    return both.new_empty(both.shape[0], both.shape[1] // 2)


@torch.library.custom_op("qlora::gate_backward", mutates_args=())
def gate_backward(gradient: Tensor, both: Tensor, is_gelu: bool) -> Tensor:
    """The gradient of both halves: (tokens, 2 x width)."""
    if not runs_triton(both):
        return _plain_gradient(gradient, both, is_gelu)
    from qlora_trainer.fused.kernels import gate_backward as kernel

    tokens, width = gradient.shape
    out = both.new_empty(tokens, 2 * width)
    grid = tokens, -(-width // _COLUMNS)
    kernel[grid](both, gradient, out, width, both.stride(0), IS_GELU=is_gelu, BLOCK=_COLUMNS, num_warps=4)
    return out


@gate_backward.register_fake
def _(gradient: Tensor, both: Tensor, is_gelu: bool) -> Tensor:
    return both.new_empty(both.shape)


def _plain(both: Tensor, is_gelu: bool) -> Tensor:
    left, right = both.chunk(2, dim=1)
    return (functional.gelu(left, approximate="tanh") if is_gelu else functional.silu(left)) * right


def _plain_gradient(gradient: Tensor, both: Tensor, is_gelu: bool) -> Tensor:
    """Written out, since autograd is off within an operation."""
    left, right = both.chunk(2, dim=1)
    if is_gelu:
        active = functional.gelu(left, approximate="tanh")
        of_left = torch.ops.aten.gelu_backward(gradient * right, left, approximate="tanh")
    else:
        active = functional.silu(left)
        of_left = torch.ops.aten.silu_backward(gradient * right, left)
    return torch.cat([of_left, gradient * active], dim=1)


def _keep(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.is_gelu = inputs[1]


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (both,) = ctx.saved_tensors
    return cast("Tensor", torch.ops.qlora.gate_backward(gradient.contiguous(), both, ctx.is_gelu)), None


gate.register_autograd(_gradient, setup_context=_keep)
