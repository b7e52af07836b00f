"""RMSNorm with a frozen weight as one kernel each way, where no compiler makes one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qlora_trainer.fused.device import runs_triton
from qlora_trainer.fused.layer import rms_norm

_WIDEST = 16384
"""A program holds a whole row."""


def norm(x: Tensor, weight: Tensor, epsilon: float, one: float) -> Tensor:
    """RMSNorm of the last dimension, computed in float32, times `one` + weight."""
    if not runs_triton(x) or x.shape[-1] > _WIDEST:
        return rms_norm(x, weight, epsilon, one)
    result: Tensor = _Norm.apply(x, weight, epsilon, one)
    return result


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, epsilon: float, one: float) -> Tensor:
        from triton import next_power_of_2

        from qlora_trainer.fused.kernels import norm_forward

        x = x.contiguous()
        width = x.shape[-1]
        rows = x.numel() // width
        out, inverse = torch.empty_like(x), torch.empty(rows, dtype=torch.float32, device=x.device)
        context.launch = {"BLOCK": next_power_of_2(width), "num_warps": 8 if width > 1024 else 1}
        norm_forward[(rows,)](x, weight, out, inverse, width, epsilon, one, **context.launch)
        context.save_for_backward(x, weight, inverse)
        context.one = one
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        from qlora_trainer.fused.kernels import norm_backward

        x, weight, inverse = context.saved_tensors
        out, given = torch.empty_like(x), gradients[0].contiguous()
        norm_backward[(len(inverse),)](
            given, x, weight, inverse, out, x.shape[-1], context.one, **context.launch
        )  # fmt: skip
        return out, None, None, None
