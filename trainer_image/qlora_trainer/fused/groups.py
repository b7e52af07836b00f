"""Linear modules of a PEFT model as groups that `linear` computes at once, with copies of their LoRA to compute with.

The float32 parameters of PEFT are what is trained. Their copies in the compute type are made once for each pass through
the model, not in each layer and not again where a layer is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from qlora_trainer.fused.linear import linear
from qlora_trainer.fused.nf4 import nf4_tensors

ADAPTER = "default"


class Sizes(NamedTuple):
    """What is the same for a group in every layer."""

    outputs: tuple[int, ...]
    ranks: tuple[int, ...]
    scales: tuple[float, ...]


class Weights(NamedTuple):
    """The tensors of a group, in the order in which `linear` takes them."""

    frozen: list[Tensor]
    biases: list[Tensor]
    masters_a: list[Tensor]
    masters_b: list[Tensor]
    a: Tensor
    b: list[Tensor]


@dataclass
class Group:
    """Linear modules that read the same input."""

    sizes: Sizes
    weights: Weights

    def __call__(self, x: Tensor) -> Tensor:
        """(tokens, inputs) to (tokens, sum of outputs)."""
        return apply(x, self.weights, self.sizes)


def apply(x: Tensor, weights: Weights, sizes: Sizes) -> Tensor:
    """(tokens, inputs) to (tokens, sum of outputs)."""
    result: Tensor = linear(x, *weights, list(sizes.outputs), list(sizes.ranks), list(sizes.scales))[0]
    return result


def make_group(modules: Sequence[Any], dtype: torch.dtype) -> Group:
    """A group of modules, each a linear layer or PEFT's LoRA around one.

    Args:
        modules: that read the same input.
        dtype: to compute in.

    Raises:
        ValueError: one of them computes something else; the message says what.
    """
    frozen, biases, masters_a, masters_b = [], [], [], []
    outputs, ranks, scales = [], [], []
    for module in modules:
        base = module.base_layer if isinstance(module, LoraLayer) else module
        frozen.append(frozen_tensors(base))
        outputs.append(base.out_features)
        if base.bias is not None:
            biases.append(base.bias.detach().to(dtype))
        if not isinstance(module, LoraLayer):
            ranks.append(0)
            continue
        a, b, scale = lora_of(module)
        masters_a.append(a)
        masters_b.append(b)
        ranks.append(len(a))
        scales.append(scale)
    if len({len(tensors) for tensors in frozen}) > 1:
        raise ValueError("some of its weights are quantised and some are not")
    if len(biases) not in (0, len(outputs)):
        raise ValueError("some of its layers have a bias and some have none")
    inputs = {module.in_features for module in modules}
    device = frozen[0][0].device
    weights = Weights(
        [tensor for tensors in frozen for tensor in tensors],
        biases,
        masters_a,
        masters_b,
        torch.empty(sum(ranks), inputs.pop(), dtype=dtype, device=device),
        [torch.empty(master.shape, dtype=dtype, device=device) for master in masters_b],
    )
    group = Group(Sizes(tuple(outputs), tuple(ranks), tuple(scales)), weights)
    refresh([group])
    return group


def frozen_tensors(module: Any) -> list[Tensor]:
    """The weight of a linear module without an adapter, as `linear` takes it.

    Raises:
        ValueError: it is none, or quantised in another way.
    """
    kind = type(module).__name__
    if kind == "Linear4bit":
        return nf4_tensors(module.weight.data, module.weight.quant_state)
    if type(module) is torch.nn.Linear:
        if module.weight.requires_grad:
            raise ValueError("it is trained whole")
        return [module.weight.detach()]
    raise ValueError(f"it is a {kind}")


def lora_of(module: Any) -> tuple[Tensor, Tensor, float]:
    """A and B of a plain LoRA, and its scale.

    Raises:
        ValueError: it has dropout, DoRA, a bias or several adapters.
    """
    if list(module.lora_A) != [ADAPTER] or module.disable_adapters or module.merged:
        raise ValueError("it has several adapters, or none that is active")
    if not isinstance(module.lora_dropout[ADAPTER], torch.nn.Identity):
        raise ValueError("it drops inputs")
    if ADAPTER in module.lora_variant or module.lora_B[ADAPTER].bias is not None:
        raise ValueError("its adapter is no plain LoRA")
    return module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight, float(module.scaling[ADAPTER])


@torch.no_grad()
def refresh(groups: Iterable[Group]) -> None:
    """Makes the copies of all LoRA again, all at once: they are many and small."""
    copies: list[Tensor] = []
    masters: list[Tensor] = []
    copies_b: list[Tensor] = []
    masters_b: list[Tensor] = []
    scales: list[float] = []
    for group in groups:
        weights = group.weights
        copies += torch.split(weights.a, [len(master) for master in weights.masters_a]) if weights.masters_a else ()
        masters += weights.masters_a
        copies_b += weights.b
        masters_b += weights.masters_b
        scales += group.sizes.scales
    if masters:
        torch._foreach_copy_(copies, masters)
        torch._foreach_copy_(copies_b, torch._foreach_mul(masters_b, scales))
