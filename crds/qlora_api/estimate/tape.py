"""The bytes that one decoder layer needs for a token, step after step, forwards and backwards.

A layer is a tape of steps. Each keeps something for its backward pass, and needs something besides only while it runs.
What is kept follows from the code that runs: PEFT's LoRA layers copy their input to float32 and keep it, each one its
own; a norm keeps its input in float32; a 4-bit product keeps nothing, since the weight that it dequantises is computed
again; SDPA keeps queries, keys, values, its result, and one float32 a head, on CUDA as on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qlora_api.estimate.base import Layer, Linear
from qlora_api.estimate.config import ModelConfig

MASTER = 4
"""Bytes of a float32, in which adapters and norms compute."""


@dataclass(frozen=True)
class Step:
    """Bytes of one step of a layer: for each token, and (`fixed`) however many tokens there are."""

    kept: float = 0
    """For the backward pass."""
    forward: float = 0
    """Besides, while it runs."""
    backward: float = 0
    """Besides, while its gradient is computed, before what was kept is given back."""
    fixed: float = 0
    """For the weight that is dequantised while it runs, in either direction."""


@dataclass(frozen=True)
class Numbers:
    """How a layer computes."""

    size: int
    """Bytes of the compute type."""
    rank: int
    dropout: bool
    is_quantised: bool


def layer_tape(layer: Layer, config: ModelConfig, adapted: frozenset[str], numbers: Numbers, mask: int) -> list[Step]:
    """The steps of a layer in the order of its forward pass.

    Args:
        layer: its weights.
        config: of the model.
        adapted: names of the modules with an adapter.
        numbers: how it computes.
        mask: bytes a token of the mask that attention keeps; 0 without one.
    """
    size, width = numbers.size, config.width
    attention = [linear for linear in layer.linears if "attn" in linear.module or "attention" in linear.module]
    into = [linear for linear in attention if linear.inputs == width and not is_last(linear)]
    out = [linear for linear in attention if linear not in into]
    others = [linear for linear in layer.linears if linear not in attention]
    expanding = [linear for linear in others if not is_last(linear)]
    ending = [linear for linear in others if is_last(linear)]
    heads, keys = config.heads * config.head_width, config.key_heads * config.head_width
    held = 2 * size * width
    """The residual, and what a group of linear modules reads."""

    def group(linears: Iterable[Linear], kept: float) -> list[Step]:
        return [
            step for linear in linears for step in linear_steps(linear, linear.module in adapted, numbers, held, kept)
        ]

    wide = [norm for name, norm in layer.norms.items() if norm == width or "head" in name]
    narrow = [norm for norm in layer.norms.values() if norm == config.head_width and norm != width]
    tape = [_norm(width, size)] * (len(wide) // 2 + len(wide) % 2)
    tape += group(into, 0)
    tape += [_norm(heads, size), _norm(keys, size)] if narrow else []
    tape += [_attention(heads, keys, config.heads, size, mask)]
    tape += group(out, 0)
    tape += [_norm(width, size)] * (len(wide) // 2)
    inner = max((linear.outputs for linear in expanding), default=0)
    tape += group(expanding, size)
    tape += [Step(kept=size * inner, forward=size * inner + held, backward=3 * size * inner)] if expanding else []
    tape += group(ending, 0)
    if config.experts_per_token:
        each = config.expert_width
        tape += [Step(kept=config.experts_per_token * size * (3 * each + 2 * width), backward=2 * size * each)]
    return tape


def linear_steps(linear: Linear, is_adapted: bool, numbers: Numbers, held: float, kept: float) -> list[Step]:
    """The product with the base's weight, then the adapter's.

    Forwards the adapter holds the base's result, its own in float32 and the same scaled. Backwards it holds the
    gradient of the result in both types, and the one of its float32 input.

    Args:
        linear: the module.
        is_adapted: whether it has an adapter.
        numbers: how it computes.
        held: bytes a token that are alive around it.
        kept: bytes for each output that the step after it keeps.
    """
    size, outputs, inputs = numbers.size, linear.outputs, linear.inputs
    dense = size * linear.numel if numbers.is_quantised else 0
    product = Step(
        forward=held + size * outputs,
        backward=size * (outputs + (2 if is_adapted else 1) * inputs),
        fixed=dense,
        kept=0 if is_adapted else kept * outputs,
    )
    if not is_adapted:
        return [product]
    adapter = Step(
        kept=MASTER * (inputs + numbers.rank) + (inputs if numbers.dropout else 0) + kept * outputs,
        forward=held + (size + 2 * MASTER) * outputs - kept * outputs,
        backward=(size + MASTER) * outputs + MASTER * max(inputs, outputs),
    )
    return [product, adapter]


def kept_bytes(tape: Iterable[Step]) -> float:
    """Bytes a token that a layer keeps until its backward pass."""
    return sum(step.kept for step in tape)


def peak_forward(tape: Iterable[Step], tokens: int) -> float:
    """The most that a layer needs while it runs forwards."""
    return _peak(tape, tokens, lambda step: step.forward)


def peak_backward(tape: Iterable[Step], tokens: int) -> float:
    """The most that a layer needs while it runs backwards, what it has kept among it."""
    return _peak(tape, tokens, lambda step: step.backward)


def _peak(tape: Iterable[Step], tokens: int, needed: Callable[[Step], float]) -> float:
    kept = peak = 0.0
    for step in tape:
        kept += step.kept * tokens
        peak = max(peak, kept + needed(step) * tokens + step.fixed)
    return peak


def _norm(width: int, size: int) -> Step:
    """It keeps its input in float32; forwards there is a second one, backwards five."""
    return Step(kept=MASTER * width, forward=MASTER * width + size * width, backward=5 * MASTER * width)


def _attention(heads: int, keys: int, number: int, size: int, mask: int) -> Step:
    """Keys and values of a mask's kernel are repeated for every head that shares them (transformers, `repeat_kv`)."""
    shared = heads if mask else keys
    return Step(
        kept=size * (2 * heads + 2 * shared) + MASTER * number + mask,
        forward=3 * size * heads,
        backward=size * (2 * heads + 2 * shared) + MASTER * heads,
    )


def is_last(linear: Linear) -> bool:
    """Whether a module ends its block, and gives what is added to the residual."""
    return linear.name in ("o_proj", "out_proj", "down_proj", "c_proj", "dense", "fc2", "w2", "wo", "dense_4h_to_h")
