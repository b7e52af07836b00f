"""The kernels and operations of the fast step beside plain torch: a line each, with ok or FAILED; 1 if any has failed.

    PYTHONPATH=crds:trainer_image:. python -m benchmarks.fused_operations

On a GPU if there is one, else in Triton's interpreter (TRITON_INTERPRET=1), with smaller sizes.
"""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import bitsandbytes.functional
import torch
from torch import Tensor
from torch.nn import functional

from qlora_trainer.fused import gate as gate_module
from qlora_trainer.fused import head as head_module
from qlora_trainer.fused import rotary
from qlora_trainer.fused.attention import (
    choose_flash,
    document_mask,
    flash_attention,
    flash_fits,
    longest_of,
    masked_attention,
)
from qlora_trainer.fused.device import runs_triton
from qlora_trainer.fused.gate import gate
from qlora_trainer.fused.head import Head
from qlora_trainer.fused.layer import rms_norm
from qlora_trainer.fused.linear import linear
from qlora_trainer.fused.nf4 import dequantise, nf4_tensors
from qlora_trainer.fused.norm import norm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IS_GPU = DEVICE.type == "cuda"
HALF = torch.bfloat16 if IS_GPU else torch.float32
"""Triton's interpreter rounds bfloat16 towards zero."""
LIMIT = 2e-2 if IS_GPU else 1e-4


def random(*shape: int, dtype: torch.dtype = HALF) -> Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype)


def distance(mine: Tensor, right: Tensor) -> float:
    return float((mine.double() - right.double()).norm() / right.double().norm())


def near(mine: Tensor, right: Tensor, limit: float = LIMIT) -> str:
    found = distance(mine, right)
    assert found < limit, f"relative error {found:.2e}"
    return f"relative error {found:.1e}"


def gradient(loss: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    value = value.detach().requires_grad_()
    return torch.autograd.grad(loss(value).float().square().sum(), value)[0]


def quantised(rows: int, columns: int, is_nested: bool, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    packed, state = bitsandbytes.functional.quantize_4bit(
        random(rows, columns, dtype=dtype), blocksize=64, compress_statistics=is_nested, quant_type="nf4"
    )
    return nf4_tensors(packed, state), bitsandbytes.functional.dequantize_4bit(packed, state)


def nf4(is_nested: bool, dtype: torch.dtype) -> str:
    for rows, columns in [(4096, 4096), (1000, 2056)] if IS_GPU else [(72, 264)]:
        tensors, expected = quantised(rows, columns, is_nested, dtype)
        found = dequantise(tensors, torch.empty_like(expected))
        assert torch.equal(found, expected), f"{int((found != expected).sum())} of {found.numel()} weights differ"
    return "equal to bitsandbytes' to the bit"


def nf4_seconds() -> str:
    """28672 x 4096, as gate and up of an 8B model."""
    if not IS_GPU:
        return "not timed without a GPU"
    tensors, out = quantised(28672, 4096, True, torch.bfloat16)
    for _ in range(3):
        dequantise(tensors, out)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(20):
        dequantise(tensors, out)
    end.record()
    torch.cuda.synchronize()
    return f"{begin.elapsed_time(end) / 20 * 1000:.1f} us"


def linear_group(is_nested: bool) -> str:
    tokens, inputs, outputs, rank = (777, 1024, (1024, 256, 256), 16) if IS_GPU else (9, 64, (64, 16, 16), 4)
    pairs = [quantised(size, inputs, is_nested, HALF) for size in outputs]
    a, b = [random(rank, inputs, dtype=torch.float32) / 32 for _ in outputs], [random(n, rank) / 4 for n in outputs]
    x = random(tokens, inputs)
    masters = [[each.float().clone().requires_grad_() for each in matrices] for matrices in (a, b)]
    copies = [(each.detach() * 0.5).to(HALF) for each in masters[1]]
    mine_x, right_x = x.clone().requires_grad_(), x.double().requires_grad_()
    found = linear(
        mine_x, [tensor for tensors, _ in pairs for tensor in tensors], [], *masters,
        torch.cat([each.detach() for each in masters[0]]).to(HALF), copies, list(outputs), [rank] * 3, [0.5] * 3,
    )[0]  # fmt: skip
    right = [[each.detach().to(HALF).double().requires_grad_() for each in matrices] for matrices in masters]
    parts = zip(pairs, *right, strict=True)
    expected = torch.cat([right_x @ w.double().t() + 0.5 * right_x @ a.t() @ b.t() for (_, w), a, b in parts], dim=1)
    near(found, expected)
    weights = random(*found.shape, dtype=torch.float32)
    mine = torch.autograd.grad((found.float() * weights).sum(), [mine_x, *masters[0], *masters[1]])
    other = torch.autograd.grad((expected * weights).sum(), [right_x, *right[0], *right[1]])
    return f"relative error {max(distance(*pair) for pair in zip(mine, other, strict=True)):.1e}" * all(
        near(*pair) for pair in zip(mine, other, strict=True)
    )


def gated(is_gelu: bool) -> str:
    both = random(300, 2 * 5000) if IS_GPU else random(3, 20)
    near(gate(both, is_gelu), gate_module._plain(both.double(), is_gelu))
    return near(
        gradient(lambda value: gate(value, is_gelu), both),
        gradient(lambda value: gate_module._plain(value, is_gelu), both.double()),
    )


def normed(width: int, one: float) -> str:
    x, weight = random(64 if IS_GPU else 3, width), random(width)

    def plain(value: Tensor) -> Tensor:
        return value * torch.rsqrt(value.square().mean(-1, keepdim=True) + 1e-5) * (weight.double() + one)

    near(rms_norm(x, weight, 1e-5, one), plain(x.double()))
    near(norm(x, weight, 1e-5, one), plain(x.double()))
    return near(gradient(lambda value: norm(value, weight, 1e-5, one), x), gradient(plain, x.double()))


def loss_of_head(scale: float, cap: float) -> str:
    tokens, width, vocabulary = (5000, 256, 33000) if IS_GPU else (5, 16, 50)
    hidden, weight = random(tokens, width), random(vocabulary, width) / width**0.5
    labels = torch.randint(0, vocabulary, (tokens,), device=DEVICE)
    learned = torch.arange(tokens, device=DEVICE)[::3].contiguous()

    def plain(value: Tensor) -> Tensor:
        logits = scale * (value[learned] @ weight.to(value.dtype).t()).float()
        logits = cap * torch.tanh(logits / cap) if cap else logits
        return functional.cross_entropy(logits, labels[learned], reduction="sum")

    def fast(value: Tensor) -> Tensor:
        return Head(weight, scale, cap).loss_sum(value, labels, learned)

    near(fast(hidden), plain(hidden.float()), 1e-3)
    grads = []
    for loss in (fast, plain):
        value = hidden.float().requires_grad_() if loss is plain else hidden.clone().requires_grad_()
        grads.append(torch.autograd.grad(loss(value), value)[0])
    return near(*grads)


def attention(window: int, head_width: int) -> str:
    if not flash_fits(torch.bfloat16, head_width, DEVICE):
        return "no flash attention here"
    lengths = [1, 300, 129, 7, 700]
    boundaries = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=DEVICE)
    tokens, scale = sum(lengths), head_width**-0.5
    parts = [random(tokens, heads, head_width, dtype=torch.bfloat16) for heads in (8, 2, 2)]
    mask = document_mask(boundaries, tokens, window)
    weights = random(tokens, 8, head_width)

    def answers(values: list[Tensor], attend: Callable[..., Tensor]) -> Iterator[Tensor]:
        values = [value.detach().requires_grad_() for value in values]
        out = attend(*values)
        yield out
        yield from torch.autograd.grad((out.float() * weights.float()).sum(), values)

    longest = longest_of(max(lengths))
    mine = answers(parts, lambda *v: flash_attention(*v, boundaries, longest, window, scale)[0])
    right = answers([part.float() for part in parts], lambda *v: masked_attention(*v, mask, scale))
    errors = [distance(*pair) for pair in zip(mine, right, strict=True)]
    assert max(errors) < LIMIT, errors
    return f"relative error {max(errors):.1e}"


def turned() -> str:
    """As transformers has it: of (1, tokens, heads, width), transposed."""
    tokens, heads, width = (300, 8, 128) if IS_GPU else (3, 2, 12)
    values = random(1, tokens, heads, width)
    cos, sin = (random(1, tokens, width // 2).repeat(1, 1, 2) for _ in range(2))

    def plain(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = cos[:, None], sin[:, None]
        halves = (torch.cat([-each[..., width // 2 :], each[..., : width // 2]], dim=-1) for each in (query, key))
        return query * cos + next(halves) * sin, key * cos + next(halves) * sin

    def of(value: Tensor, is_fast: bool) -> Tensor:
        value = value.transpose(1, 2)
        if is_fast:
            return rotary._Turn.apply(value, cos, sin)
        return plain(value, value, cos.to(value.dtype), sin.to(value.dtype))[0]

    near(of(values, True), of(values.double(), False))
    return near(
        gradient(lambda value: of(value, True), values), gradient(lambda value: of(value, False), values.double())
    )


CHECKS: dict[str, Callable[[], str]] = {
    "NF4, nested": lambda: nf4(True, HALF),
    "NF4, nested, float32": lambda: nf4(True, torch.float32),
    "NF4, not nested": lambda: nf4(False, HALF),
    "NF4, 28672 x 4096": nf4_seconds,
    "linear group, nested": lambda: linear_group(True),
    "linear group, not nested": lambda: linear_group(False),
    "SwiGLU": lambda: gated(False),
    "GeGLU": lambda: gated(True),
    "RMSNorm, 128 wide": lambda: normed(128, 0.0),
    "RMSNorm, 1 + weight, 100 wide": lambda: normed(100, 1.0),
    "RMSNorm, 5120 wide": lambda: normed(5120, 0.0),
    "rotary positions": turned,
    "loss": lambda: loss_of_head(1.0, 0.0),
    "loss, scaled and capped": lambda: loss_of_head(0.5, 2.0),
    "attention": lambda: attention(0, 128),
    "attention, window of 100": lambda: attention(100, 128),
    "attention, heads 256 wide": lambda: attention(0, 256),
    "attention, heads 64 wide": lambda: attention(0, 64),
}


def main() -> None:
    torch.manual_seed(0)
    head_module._COLUMNS = head_module._COLUMNS if IS_GPU else 16
    assert runs_triton(torch.empty(0, device=DEVICE)), "needs a GPU with Triton, or Triton with TRITON_INTERPRET=1"
    if IS_GPU:
        print(torch.cuda.get_device_name(), "torch", torch.__version__, "attention", choose_flash(DEVICE), flush=True)
    failed = 0
    for name, check in CHECKS.items():
        begin = time.monotonic()
        try:
            said = f"ok      {name}: {check()}"
        except Exception as error:
            failed += 1
            said = f"FAILED  {name}: {type(error).__name__}: {error}"
            traceback.print_exc()
        print(f"{said} ({time.monotonic() - begin:.1f} s)", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
