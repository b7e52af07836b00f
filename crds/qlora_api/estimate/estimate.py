"""The memory that one rank needs on its GPU, from the job, the shapes of the weights and config.json.

A step is looked at in three phases: the loss, when all layers have run and the logits are there; the backward pass of
the last layer, when all that is kept for it is still there; and the optimizer's step. Under ZeRO-3 reading the base is
a fourth. The one that needs most counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qlora_api.estimate import fused, tape
from qlora_api.estimate.adapter import frozen_parameters, rank, targets, trained_parameters
from qlora_api.estimate.base import BYTES, BaseBytes, Shapes, base_bytes, has_head, layers
from qlora_api.estimate.breakdown import WORKSPACE, Estimate, Phase
from qlora_api.estimate.config import ModelConfig
from qlora_api.estimate.head import head_bytes
from qlora_api.estimate.reading import reading_parts
from qlora_api.estimate.trained import FLOAT, Trained, trained
from qlora_api.spec import QLoRAJobSpec


@dataclass(frozen=True)
class Choice:
    """What a job can choose to need less."""

    micro_batch: int
    checkpointing: bool


@dataclass(frozen=True)
class Rows:
    """What decides of the data."""

    length: int
    """Tokens of the longest sequence."""
    learned: int
    """Positions of a micro-batch at which some sequence learns."""


def estimate(
    spec: QLoRAJobSpec, shapes: Shapes, config: Mapping[str, Any], choice: Choice | None = None,
    is_masked: bool | None = None, rows: Rows | None = None,
) -> Estimate:  # fmt: skip
    """What one rank needs.

    Args:
        spec: the job's.
        shapes: of the base's weights, by name.
        config: config.json.
        choice: instead of the job's own.
        is_masked: whether attention is given a mask; None: as when rows differ in length, or are packed.
        rows: of the data; None: they are as long as the job allows, and all of their tokens are learned.

    Raises:
        ValueError: config.json lacks a size.
    """
    training = spec.training
    choice = choice or Choice(training.micro_batch_size, training.gradient_checkpointing)
    model = ModelConfig.of(config)
    size = BYTES[spec.compute_dtype]
    rows = rows or Rows(training.sequence_length, training.sequence_length)
    length = rows.length + spec.adapter.parameters.get("virtual_tokens", 0)
    tokens = choice.micro_batch * length
    if is_masked is None:
        is_masked = training.packing or choice.micro_batch > 1
    world_size = spec.nodes * spec.node.slots
    kernels = fused.kernels_of(spec, config)
    learned = choice.micro_batch * min(rows.learned, length)
    if kernels == "plain":
        head, copies = head_bytes(model, learned, size), 0
    else:
        head, copies = fused.head_bytes(model, tokens, learned, size), fused.copy_bytes(spec, shapes)
    activations = _activations(spec, shapes, model, choice, tokens, is_masked, kernels)
    optimized = _trained(spec, shapes, model, choice, world_size)
    whole = base_bytes(shapes, spec, model.is_tied or not has_head(shapes))
    base = _base(spec, shapes, whole, world_size)
    reading = reading_parts(spec, shapes, whole, world_size) if spec.deepspeed.zero_stage == 3 else {}
    adapter = {"adapter": optimized.parameters + FLOAT * frozen_parameters(spec.adapter, shapes) + copies}
    always = {**base, **adapter, "optimizer": optimized.moments}
    waiting = {
        "gradients": optimized.accumulated,
        "DeepSpeed's bucket": optimized.bucket if optimized.bucket_stays else 0,
    }
    buffers = {"cuBLAS' workspace": WORKSPACE}
    return Estimate(
        [
            Phase(
                "the loss",
                {
                    **always, **waiting, "kept activations": activations.kept,
                    "logits and loss": int(max(head.forward, head.backward)), **buffers,
                },
            ),
            Phase(
                "the backward pass of the last layer",
                {
                    **always,
                    "gradients": optimized.accumulated,
                    "DeepSpeed's bucket": optimized.bucket,
                    "kept activations": activations.kept,
                    "work of one layer": activations.work,
                    **buffers,
                },
            ),
            Phase(
                "the optimizer's step",
                {
                    **always,
                    "gradients": optimized.gradients if optimized.reduction + optimized.bucket >= optimized.step else 0,
                    "DeepSpeed's bucket": optimized.bucket,
                    "work of the optimizer": max(optimized.reduction, optimized.step),
                    **buffers,
                },
            ),
            *([Phase("reading the base", reading)] if reading else []),
        ]
    )  # fmt: skip


@dataclass(frozen=True)
class _Activations:
    """Bytes for all tokens of a micro-batch."""

    kept: int
    """From the forward to the backward pass, of all layers."""
    work: int
    """Besides, at most, in the backward pass of one layer."""


def _activations(
    spec: QLoRAJobSpec, shapes: Shapes, model: ModelConfig, choice: Choice, tokens: int, is_masked: bool, kernels: str
) -> _Activations:
    """Without checkpointing a layer keeps its whole tape; with it the layer's input, and runs forwards once more."""
    size = BYTES[spec.compute_dtype]
    length = tokens // choice.micro_batch
    numbers = tape.Numbers(
        size=size,
        rank=rank(spec.adapter),
        dropout=bool(spec.adapter.parameters.get("dropout")),
        is_quantised=spec.quantization.type != "none",
    )
    adapted = frozenset(linear.module for linear in targets(spec.adapter, shapes))
    if kernels == "plain":
        tapes = [
            tape.layer_tape(
                layer, model, adapted, numbers, size * length if is_masked or model.has_window(number, length) else 0
            )
            for number, layer in enumerate(layers(shapes))
        ]
    else:
        tapes = [fused.layer_tape(layer, model, adapted, numbers, kernels == "compiled") for layer in layers(shapes)]
    if not tapes:
        raise ValueError("the weights have no layers by name; write a causal language model of transformers")
    last = tapes[-1]
    gradient = tokens * model.width * size
    if choice.checkpointing:
        kept = len(tapes) * tokens * model.width * size
        # The layer runs again when the first of its steps backwards asks for what it has kept, with its own gradient.
        again = tape.peak_forward(last, tokens) + tokens * model.width * tape.MASTER
        return _Activations(kept, int(gradient + max(again, tape.peak_backward(last, tokens))))
    kept = int(sum(tape.kept_bytes(steps) for steps in tapes) * tokens)
    return _Activations(kept, int(gradient + tape.peak_backward(last, tokens) - tape.kept_bytes(last) * tokens))


def _trained(spec: QLoRAJobSpec, shapes: Shapes, model: ModelConfig, choice: Choice, world_size: int) -> Trained:
    parameters = trained_parameters(
        spec.adapter, shapes, model.width, len(layers(shapes)), model.key_heads * model.head_width
    )
    accumulation = max(1, spec.training.global_batch_size // (choice.micro_batch * world_size))
    return trained(parameters, spec, world_size, accumulation)


def _base(spec: QLoRAJobSpec, shapes: Shapes, found: BaseBytes, world_size: int) -> dict[str, int]:
    """ZeRO-3 shares out what is quantised and what is not; a layer is whole while it is used."""
    sizes = {
        f"weights ({spec.quantization.type})": found.weights,
        "quantisation constants": found.constants,
        "embeddings, norms, output layer": found.unquantised,
    }
    if spec.deepspeed.zero_stage < 3:
        return sizes
    is_away = spec.deepspeed.offload_parameters == "cpu"
    shared = {name: 0 if is_away else size // world_size for name, size in sizes.items()}
    shared["quantisation constants"] = found.constants
    count = max(1, len(layers(shapes)))
    shared["gathered by ZeRO-3"] = 2 * found.weights // count + found.unquantised
    return shared
