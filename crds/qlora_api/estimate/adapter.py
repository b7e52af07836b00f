"""What is trained: how many parameters each method adds. All are float32."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from qlora_api.estimate.base import Linear, Shapes, linears
from qlora_api.spec import AdapterSpec

ALL_LINEAR = "all-linear"
ADALORA_SPARE = 1.5
"""AdaLoRA begins with this many times the rank that is left at the end (its paper, arXiv 2303.10512, section 4)."""


def targets(adapter: AdapterSpec, shapes: Shapes) -> list[Linear]:
    """The linear modules that get an adapter."""
    wanted = adapter.parameters.get("targets")
    if wanted is None:
        return []
    if wanted == ALL_LINEAR:
        return linears(shapes)
    ends = wanted.split(",")
    return [
        linear
        for linear in linears(shapes)
        if any(linear.module == end or linear.module.endswith(f".{end}") for end in ends)
    ]


def rank(adapter: AdapterSpec) -> int:
    """Width between the two matrices of an adapter; 0 if the method has none."""
    given: int = adapter.parameters.get("rank", 0)
    return ceil(ADALORA_SPARE * given) if adapter.method == "adalora" else given


def trained_parameters(adapter: AdapterSpec, shapes: Shapes, width: int, layers: int, keys: int) -> int:
    """Parameters that are trained.

    Args:
        adapter: the job's.
        shapes: of the base's weights.
        width: of a token's vector.
        layers: of the decoder.
        keys: width of all keys of a token in one layer.
    """
    chosen, given = targets(adapter, shapes), adapter.parameters
    sides = sum(linear.inputs + linear.outputs for linear in chosen)
    match adapter.method:
        case "vera":
            count = sum(given["rank"] + linear.outputs for linear in chosen)
        case "oft":
            block = given["block_size"]
            count = sum(linear.inputs // block * (block * (block - 1) // 2) for linear in chosen)
        case "ia3":
            count = sum(max(linear.inputs, linear.outputs) for linear in chosen)
        case "prefix-tuning":
            count = given["virtual_tokens"] * layers * 2 * keys
        case "prompt-tuning":
            count = given["virtual_tokens"] * width
        case "p-tuning":  # an embedding and an encoder of three linear layers (peft/tuners/p_tuning/model.py)
            count = given["virtual_tokens"] * width + 3 * (width * width + width)
        case "adalora":
            count = rank(adapter) * sides + rank(adapter) * len(chosen)
        case "dora":
            count = given["rank"] * sides + sum(linear.outputs for linear in chosen)
        case _:
            count = given["rank"] * sides
    return int(count) + len(given.get("trainable_tokens", ())) * width + saved_modules(adapter, shapes)


def frozen_parameters(adapter: AdapterSpec, shapes: Shapes) -> int:
    """What a method adds and does not train: VeRA's two matrices, which all modules share."""
    chosen = targets(adapter, shapes) if adapter.method == "vera" else []
    return rank(adapter) * (_most(chosen, "inputs") + _most(chosen, "outputs")) if chosen else 0


def saved_modules(adapter: AdapterSpec, shapes: Shapes) -> int:
    """Parameters of `modulesToSave`, each of which gets a copy that is trained."""
    ends = [end for end in str(adapter.parameters.get("modules_to_save", "")).split(",") if end]
    total = 0
    for name, shape in shapes.items():
        module = name.rpartition(".")[0]
        if any(module == end or module.endswith(f".{end}") for end in ends):
            total += prod(shape)
    return total


def _most(chosen: Sequence[Linear], side: str) -> int:
    return max(int(getattr(linear, side)) for linear in chosen)
