"""Triton's kernels in its interpreter, beside plain torch: where Triton is installed and no GPU is there."""

from __future__ import annotations

import bitsandbytes.functional
import pytest
import torch

from qlora_trainer.fused import gate as gate_module
from qlora_trainer.fused import head as head_module
from qlora_trainer.fused.gate import gate
from qlora_trainer.fused.head import Head
from qlora_trainer.fused.layer import rms_norm
from qlora_trainer.fused.nf4 import dequantise, nf4_tensors
from qlora_trainer.fused.norm import norm

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="benchmarks/gpu_check.sh runs them on the GPU")


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the module of the kernels is imported for the first time."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.mark.parametrize("is_nested", [True, False])
def test_a_dequantised_weight_is_that_of_bitsandbytes_to_the_bit(is_nested: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(72, 264).bfloat16()
    packed, state = bitsandbytes.functional.quantize_4bit(
        weight, blocksize=64, compress_statistics=is_nested, quant_type="nf4"
    )
    expected = bitsandbytes.functional.dequantize_4bit(packed, state)
    assert torch.equal(dequantise(nf4_tensors(packed, state), torch.empty_like(weight)), expected)


@pytest.mark.parametrize("is_gelu", [False, True])
def test_the_gate(is_gelu: bool) -> None:
    torch.manual_seed(0)
    both = torch.randn(3, 20, requires_grad=True)
    found, expected = gate(both, is_gelu), gate_module._plain(both, is_gelu)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    mine, right = (torch.autograd.grad(each.square().sum(), both)[0] for each in (found, expected))
    torch.testing.assert_close(mine, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("one", [0.0, 1.0])
def test_the_norm(one: float) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 20, requires_grad=True), torch.randn(20)
    found, expected = norm(x, weight, 1e-5, one), rms_norm(x, weight, 1e-5, one)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    mine, right = (torch.autograd.grad(each.square().sum(), x)[0] for each in (found, expected))
    torch.testing.assert_close(mine, right, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("scale", "cap"), [(1.0, 0.0), (0.5, 2.0)])
def test_the_likelihood(scale: float, cap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "_COLUMNS", 16)
    torch.manual_seed(0)
    logits, labels, head = torch.randn(4, 37) * 3, torch.tensor([0, 36, 15, 16]), Head(torch.empty(0), scale, cap)
    mine, right = logits.clone(), logits.clone()
    losses = head_module._losses_and_gradient(mine, labels, head)
    torch.testing.assert_close(losses, head_module._plainly(right, labels, head), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine, right, atol=1e-6, rtol=1e-4)
