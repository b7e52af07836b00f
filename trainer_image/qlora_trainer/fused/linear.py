"""Linear layers that read the same input, each with a frozen weight and a LoRA, as one operation.

The adapters' small products are written first and the large product adds to them (`y = h B'; y.addmm_(x, W')`), so that
their result is read behind it instead of in a pass of its own; the same backwards. A quantised weight is made whole
when it is used, in the backward pass again. Nothing but the input and h = x A' is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qlora_trainer.fused.device import whole_product
from qlora_trainer.fused.nf4 import dequantise


@torch.library.custom_op("qlora::linear", mutates_args=())
def linear(
    x: Tensor, frozen: list[Tensor], biases: list[Tensor], masters_a: list[Tensor], masters_b: list[Tensor],
    a: Tensor, b: list[Tensor], outputs: list[int], ranks: list[int], scales: list[float],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The results of some linear layers beside each other, and what the backward pass needs.

    Args:
        x: (tokens, inputs).
        frozen: the weights' tensors: one each, (outputs, inputs), or those of `nf4_tensors` each.
        biases: one for each layer; none at all.
        masters_a: A of each LoRA, (rank, inputs): they get the gradients, in their own type.
        masters_b: B, (outputs, rank).
        a: all A below each other, in the type of x.
        b: B of each LoRA times its scale, in the type of x.
        outputs: of each layer.
        ranks: of each layer's LoRA; 0 without one.
        scales: of each LoRA.

    Returns:
        (tokens, sum of outputs) and x A': (tokens, sum of ranks).
    """
    hidden = x @ a.t()
    weight = whole_weight(frozen, outputs, x)
    if not b and not biases:
        return x @ weight.t(), hidden
    result = x.new_empty(x.shape[0], sum(outputs))
    factors = iter(b)
    begin = first = 0
    for number, (size, rank) in enumerate(zip(outputs, ranks, strict=True)):
        own = result[:, begin : begin + size]
        bias = biases[number] if biases else None
        if not rank:
            own.copy_(bias.expand_as(own)) if bias is not None else own.zero_()
        elif bias is not None:
            torch.addmm(bias, hidden[:, first : first + rank], next(factors).t(), out=own)
        else:
            torch.mm(hidden[:, first : first + rank], next(factors).t(), out=own)
        begin, first = begin + size, first + rank
    return result.addmm_(x, weight.t()), hidden


@linear.register_fake
def _(
    x: Tensor, frozen: list[Tensor], biases: list[Tensor], masters_a: list[Tensor], masters_b: list[Tensor],
    a: Tensor, b: list[Tensor], outputs: list[int], ranks: list[int], scales: list[float],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return x.new_empty(x.shape[0], sum(outputs)), x.new_empty(x.shape[0], a.shape[0])


@torch.library.custom_op("qlora::linear_backward", mutates_args=())
def linear_backward(
    gradient: Tensor, x: Tensor, hidden: Tensor, frozen: list[Tensor], a: Tensor, b: list[Tensor],
    outputs: list[int], ranks: list[int], scales: list[float],
) -> list[Tensor]:  # fmt: skip
    """The gradients of x, of all A below each other, and of each B; those of the factors are float32."""
    inner = torch.empty_like(hidden)
    of_b: list[Tensor] = []
    begin = first = 0
    for size, rank in zip(outputs, ranks, strict=True):
        if rank:
            own, part = gradient[:, begin : begin + size], slice(first, first + rank)
            torch.mm(own, b[len(of_b)], out=inner[:, part])
            of_b.append(whole_product(own.t(), hidden[:, part]).mul_(scales[len(of_b)]))
        begin, first = begin + size, first + rank
    weight = whole_weight(frozen, outputs, x)
    of_x = (inner @ a).addmm_(gradient, weight) if b else gradient @ weight
    return [of_x, whole_product(inner.t(), x), *of_b]


@linear_backward.register_fake
def _(
    gradient: Tensor, x: Tensor, hidden: Tensor, frozen: list[Tensor], a: Tensor, b: list[Tensor],
    outputs: list[int], ranks: list[int], scales: list[float],
) -> list[Tensor]:  # fmt: skip
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    return [torch.empty_like(x), torch.empty_like(a, dtype=kind), *(torch.empty_like(each, dtype=kind) for each in b)]


def whole_weight(frozen: list[Tensor], outputs: list[int], like: Tensor) -> Tensor:
    """The weights below each other, (sum of outputs, inputs), in the type of `like`."""
    each = len(frozen) // len(outputs)
    if each == 1 and len(outputs) == 1 and frozen[0].dtype == like.dtype:
        return frozen[0]
    whole = like.new_empty(sum(outputs), like.shape[1])
    for number, part in enumerate(torch.split(whole, outputs)):
        if each == 1:
            part.copy_(frozen[number])
        else:
            dequantise(frozen[number * each : (number + 1) * each], part)
    return whole


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, frozen, biases, _, _, a, b, *ctx.sizes = inputs
    ctx.save_for_backward(x, output[1], a, *b, *frozen)
    ctx.lengths = len(frozen), len(biases), len(b)


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
    x, hidden, a, *rest = ctx.saved_tensors
    of_frozen, of_biases, of_b = ctx.lengths
    b, frozen = rest[:of_b], rest[of_b:]
    found = torch.ops.qlora.linear_backward(gradient.contiguous(), x, hidden, frozen, a, b, *ctx.sizes)
    ranks = [rank for rank in ctx.sizes[1] if rank]
    of_a = list(torch.split(found[1], ranks)) if ranks else []
    of_scales: list[Any] | None = None if ranks else []  # PyTorch takes an empty list for one of tensors
    nothing: tuple[Any, ...] = None, [None] * of_b, None, None, of_scales
    return found[0], [None] * of_frozen, [None] * of_biases, of_a, found[2:], *nothing


linear.register_autograd(_gradients, setup_context=_keep)
