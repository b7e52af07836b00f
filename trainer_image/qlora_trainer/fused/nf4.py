"""Weights in NF4, made whole in one pass: the constants of double quantisation are read where they are used.

The format is bitsandbytes' (functional.py, `quantize_4bit`), and so is every bit of the result.
"""

from __future__ import annotations

from typing import Any

import torch

from qlora_trainer.fused.device import runs_triton

BLOCK, OUTER_BLOCK = 64, 256
"""Weights that share a constant, and constants that share one in turn."""
_WORDS = 512
"""Words of 8 weights that one program reads."""


def nf4_tensors(weight: torch.Tensor, state: Any) -> list[torch.Tensor]:
    """What a weight consists of: its words of 8 weights (int32) and the constants, and nested those of the constants.

    Args:
        weight: packed by bitsandbytes, in a tensor of any type.
        state: its QuantState.

    Raises:
        ValueError: it is in a form that is not read here; the message says which.
    """
    if state.quant_type != "nf4":
        raise ValueError(f"the base is {state.quant_type}, not nf4")
    if state.blocksize != BLOCK or (state.nested and state.state2.blocksize != OUTER_BLOCK):
        raise ValueError(f"the base is quantised in blocks of {state.blocksize}, not {BLOCK}")
    if state.shape.numel() % 8:
        raise ValueError(f"a weight of shape {tuple(state.shape)} is no multiple of 8 elements")
    words = weight.detach().reshape(-1).view(torch.uint8).view(torch.int32)
    if not state.nested:
        return [words, state.absmax, state.code]
    inner = state.state2
    return [words, state.absmax, state.code, inner.absmax, inner.code, state.offset.reshape(1)]


def dequantise(tensors: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
    """Writes a weight.

    Args:
        tensors: as `nf4_tensors` gives them.
        out: contiguous, of as many elements, in the type to compute in.
    """
    words, constants, code, *outer = tensors
    if not runs_triton(words):
        return _dequantise_plainly(tensors, out)
    from triton import cdiv

    from qlora_trainer.fused.kernels import dequantise_nf4

    outer_constants, outer_code, offset = outer or (constants, code, code)
    dequantise_nf4[(cdiv(words.numel(), _WORDS),)](
        words, constants, code, outer_constants, outer_code, offset, out, words.numel(),
        IS_NESTED=bool(outer), BLOCK=_WORDS, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return out


def _dequantise_plainly(tensors: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
    words, constants, code, *outer = tensors
    if outer:
        outer_constants, outer_code, offset = outer
        scales = outer_constants.repeat_interleave(OUTER_BLOCK)[: len(constants)]
        constants = outer_code[constants.long()] * scales + offset
    packed = words.view(torch.uint8)
    entries = torch.stack([packed >> 4, packed & 0xF], dim=-1).flatten().long()
    values = code[entries] * constants.repeat_interleave(BLOCK)[: len(entries)]
    out.view(-1).copy_(values)
    return out
