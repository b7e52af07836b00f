"""First values of A and B that are taken from the weights: LoftQ, PiSSA and OLoRA.

The weights are read once more as they were before they were quantised. PiSSA and OLoRA move a part of a weight W into
the adapter and keep the rest in the base: base = W - s B A, with s = alpha / rank. Such an adapter fits that base only.
So what is saved is the change, as a plain LoRA adapter of twice the rank on the model as it was (`as_plain`):
s (B A - B0 A0) = s [B, -B0] [A; A0].
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft.utils.integrations import dequantize_module_weight

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.weights import OriginalWeights

Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""By the name of the adapted module, A of shape (rank, inputs) and B of shape (outputs, rank): float32, on the CPU."""


class Start(NamedTuple):
    """First values of one module."""

    a: torch.Tensor
    b: torch.Tensor
    rest: torch.Tensor | None
    """The new weight of the base, or None if it stays."""


@torch.no_grad()
def begin_from_weights(model: Any, method: str, folder: Path, seed: int) -> Factors:
    """Sets A and B of every adapted module, and with PiSSA and OLoRA the base; a function of weights and seed.

    Returns:
        The first values, if the base was changed, for `as_plain`.

    Raises:
        TrainerError: a weight is not in the model's files under its module's name, or the rank is too large for it.
    """
    first: Factors = {}
    original = OriginalWeights(folder)
    torch.manual_seed(seed)
    for name, module in adapted(model):
        rank, base = module.r["default"], module.get_base_layer()
        weight = original.read(name) if is_quantised(base) else base.weight.data
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        weight = weight.to(a.device, torch.float32)
        if rank > min(weight.shape):
            raise TrainerError(
                Reason.USER_ERROR,
                f"adapter.rank: {rank} is more than {name} has, whose weight is {' x '.join(map(str, weight.shape))}; "
                f"write at most {min(weight.shape)}, or method: lora",
            )
        held = dequantize_module_weight(base).to(torch.float32) if method == "loftq" else weight
        start = start_of(method, weight, held, rank, module.scaling["default"])
        a.data.copy_(start.a)
        b.data.copy_(start.b)
        if start.rest is not None:
            replace_weight(base, start.rest)
            first[name] = (a.detach().cpu().clone(), b.detach().cpu().clone())
    return first


def start_of(method: str, weight: torch.Tensor, held: torch.Tensor, rank: int, scale: float) -> Start:
    """The first values for one weight of shape (outputs, inputs).

    LoftQ: the best approximation of what quantisation has lost (arXiv 2310.08659, one iteration).
    PiSSA: the largest singular values of the weight (arXiv 2404.02948). OLoRA: the first rows of its QR decomposition
    (arXiv 2406.01775).
    """
    if method == "olora":
        q, r = torch.linalg.qr(weight)
        b, a = q[:, :rank], r[:rank]
        return Start(a, b, weight - scale * b @ a)
    target = weight - held if method == "loftq" else weight
    u, s, v = torch.svd_lowrank(target, q=min(rank + 8, min(target.shape)), niter=4)
    root = (s[:rank] / scale).sqrt()
    a, b = root[:, None] * v[:, :rank].T, u[:, :rank] * root
    return Start(a, b, None if method == "loftq" else weight - scale * b @ a)


def as_plain(name: str, a: torch.Tensor, b: torch.Tensor, first: Factors) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of twice the rank, for the model as it was."""
    a0, b0 = first[name]
    return torch.cat([a, a0]), torch.cat([b, -b0], dim=1)


def adapted(model: Any) -> Iterator[tuple[str, Any]]:
    """The modules with A and B, by their name in the base model."""
    for name, module in model.base_model.model.named_modules():
        if "default" in getattr(module, "lora_A", {}):
            yield name, module


def is_quantised(base: Any) -> bool:
    """Whether the layer is one of bitsandbytes'."""
    return type(base).__name__ in ("Linear4bit", "Linear8bitLt")


def replace_weight(base: Any, weight: torch.Tensor) -> None:
    """Puts a float32 weight in place of the layer's own, quantised as that was."""
    old = base.weight
    match type(base).__name__:
        case "Linear4bit":
            new = type(old)(
                weight.to(base.compute_dtype or torch.float32),
                requires_grad=False,
                quant_type=old.quant_type,
                quant_storage=old.quant_storage,
                compress_statistics=old.compress_statistics,
                blocksize=old.blocksize,
            )
            base.weight = new.to(weight.device)
            base.weight.module = base
        case "Linear8bitLt":
            base.weight = type(old)(weight, requires_grad=False, has_fp16_weights=False).to(weight.device)
        case _:
            old.data.copy_(weight)
