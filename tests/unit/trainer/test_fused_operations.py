"""The operations of the fast step beside autograd on the same arithmetic, in float64."""

from __future__ import annotations

import itertools
from typing import Any

import bitsandbytes.functional
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from qlora_trainer.fused import head as head_module
from qlora_trainer.fused.attention import document_mask, masked_attention, preferred_kernels
from qlora_trainer.fused.gate import gate
from qlora_trainer.fused.head import Head
from qlora_trainer.fused.linear import linear
from qlora_trainer.fused.nf4 import dequantise, nf4_tensors
from qlora_trainer.rank.likelihood import IGNORED


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    weights = torch.linspace(-1, 1, loss.numel(), dtype=loss.dtype).view_as(loss)
    return list(torch.autograd.grad((loss * weights).sum(), leaves))


@pytest.mark.parametrize("ranks", [(2, 3, 2), (2, 0, 4), (0, 0, 0)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_a_group_of_linear_layers_is_the_layers_one_by_one(ranks: tuple[int, ...], has_bias: bool) -> None:
    torch.manual_seed(0)
    outputs, inputs = (6, 4, 8), 10
    x = random(7, inputs).requires_grad_()
    weights = [random(size, inputs) for size in outputs]
    biases = [random(size) for size in outputs] if has_bias else []
    a = [random(rank, inputs).requires_grad_() for rank in ranks if rank]
    b = [random(size, rank).requires_grad_() for size, rank in zip(outputs, ranks, strict=True) if rank]
    scales = [0.5 + number for number in range(len(a))]

    expected, number = [], 0
    for place, rank in enumerate(ranks):
        own = functional.linear(x, weights[place], biases[place] if has_bias else None)
        if rank:
            own = own + scales[number] * (x @ a[number].t() @ b[number].t())
            number += 1
        expected.append(own)
    copies = [(each * scale).detach() for each, scale in zip(b, scales, strict=True)]
    stacked = torch.cat([each.detach() for each in a]) if a else x.new_empty(0, inputs).detach()
    found = linear(x, weights, biases, a, b, stacked, copies, list(outputs), list(ranks), scales)[0]

    whole = torch.cat(expected, dim=1)
    torch.testing.assert_close(found, whole)
    for mine, right in zip(gradients(found, x, *a, *b), gradients(whole, x, *a, *b), strict=True):
        torch.testing.assert_close(mine, right)


@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_dequantised_weight_is_that_of_bitsandbytes_to_the_bit(is_nested: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = torch.randn(136, 264).to(dtype)
    packed, state = bitsandbytes.functional.quantize_4bit(
        weight, blocksize=64, compress_statistics=is_nested, quant_type="nf4"
    )
    expected = bitsandbytes.functional.dequantize_4bit(packed, state)
    found = dequantise(nf4_tensors(packed, state), torch.empty_like(weight))
    assert torch.equal(found, expected)


def test_a_base_in_another_form_is_refused() -> None:
    packed, state = bitsandbytes.functional.quantize_4bit(torch.randn(8, 64), blocksize=64, quant_type="fp4")
    with pytest.raises(ValueError, match="fp4, not nf4"):
        nf4_tensors(packed, state)


@pytest.mark.parametrize("is_gelu", [False, True])
def test_a_gate_is_an_activation_times_what_it_lets_through(is_gelu: bool) -> None:
    torch.manual_seed(0)
    both = random(5, 12).requires_grad_()
    left, right = both.chunk(2, dim=1)
    expected = (functional.gelu(left, approximate="tanh") if is_gelu else functional.silu(left)) * right
    found = gate(both, is_gelu)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(gradients(each, both)[0] for each in (found, expected)))


@pytest.mark.parametrize(("scale", "cap"), [(1.0, 0.0), (0.25, 0.0), (1.0, 3.0)])
def test_the_loss_in_parts_is_cross_entropy(scale: float, cap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "HEAD_ROWS", 4)
    torch.manual_seed(0)
    hidden, weight = random(13, 6).requires_grad_(), random(11, 6)
    labels = torch.randint(0, 11, (13,))
    labels[[0, 5, 12]] = IGNORED
    logits = scale * (hidden @ weight.t())
    logits = cap * torch.tanh(logits / cap) if cap else logits
    expected = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    learned = (labels != IGNORED).nonzero().squeeze(1)
    found = Head(weight, scale, cap).loss_sum(hidden, labels, learned)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(3 * each, hidden)[0] for each in (found, expected)))


@pytest.mark.parametrize("window", [0, 3])
def test_attention_by_a_mask_is_that_of_each_document(window: int) -> None:
    torch.manual_seed(0)
    lengths = [4, 1, 7]
    boundaries = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    query, key, value = random(12, 4, 8), random(12, 2, 8), random(12, 2, 8)
    found = masked_attention(query, key, value, document_mask(boundaries, 12, window), 0.3)
    for begin, end in itertools.pairwise(boundaries.tolist()):
        place = torch.arange(end - begin)
        sees = (place[:, None] >= place) & ((place[:, None] - place < window) if window else True)
        parts: list[Any] = [each[begin:end].transpose(0, 1)[None] for each in (query, key, value)]
        alone = functional.scaled_dot_product_attention(*parts, attn_mask=sees, scale=0.3, enable_gqa=True)
        torch.testing.assert_close(found[begin:end], alone[0].transpose(0, 1))


def test_the_fastest_attention_is_for_the_card() -> None:
    assert preferred_kernels((8, 0)) == []
    assert preferred_kernels((9, 0)) == ["FA4", "FA3"]
    assert preferred_kernels((10, 0)) == ["FA4"]
