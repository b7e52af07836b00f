"""Where Triton's kernels run: on CUDA, or anywhere in its interpreter."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

HAS_TRITON = find_spec("triton") is not None


def runs_triton(tensor: torch.Tensor) -> bool:
    """Whether a kernel can be launched on a tensor; elsewhere plain torch computes the same."""
    return HAS_TRITON and (tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")


def whole_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A matrix product whose result is float32 at least, as a gradient of a float32 master has to be."""
    if left.dtype in (torch.float32, torch.float64):
        return left @ right
    if left.is_cuda and left.numel():
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).float()
