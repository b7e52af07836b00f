"""The tape of a layer, and the loss, where `training.kernels` is fused or compiled.

After qlora_trainer/fused: a group of linear layers keeps its input once, and x A' in the compute type; a norm keeps its
input and one float32; the gate keeps both halves; flash attention keeps no mask. The output layer makes the logits of
`HEAD_ROWS` tokens at a time, and of the whole loss only the gradient of the hidden state stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qlora_api.estimate.adapter import rank, targets
from qlora_api.estimate.base import BYTES, Layer, Linear, Shapes
from qlora_api.estimate.config import ModelConfig
from qlora_api.estimate.head import HeadBytes
from qlora_api.estimate.tape import MASTER, Numbers, Step, is_last
from qlora_api.kernels import FAST, HEAD_ROWS, MODEL_TYPES, refusal
from qlora_api.spec import QLoRAJobSpec


def kernels_of(spec: QLoRAJobSpec, config: Mapping[str, Any]) -> str:
    """The way through the layers that a rank is expected to take: plain, fused or compiled.

    Args:
        spec: the job's.
        config: config.json.
    """
    wanted = spec.training.kernels
    if wanted == "plain" or refusal(spec) is not None:
        return "plain"
    if wanted in FAST:
        return wanted
    if spec.node.accelerator == "cpu":
        return "plain"
    return "compiled" if config.get("model_type") in MODEL_TYPES else "fused"


def layer_tape(
    layer: Layer, config: ModelConfig, adapted: frozenset[str], numbers: Numbers, is_compiled: bool
) -> list[Step]:
    """The steps of a layer in the order of its forward pass.

    Args:
        layer: its weights.
        config: of the model.
        adapted: names of the modules with an adapter.
        numbers: how it computes.
        is_compiled: whether queries and keys are kept as they were before they were turned too: values are a view of
            the same tensor.
    """
    size, width = numbers.size, config.width
    heads, keys = config.heads * config.head_width, config.key_heads * config.head_width
    attention = [linear for linear in layer.linears if "attn" in linear.module or "attention" in linear.module]
    others = [linear for linear in layer.linears if linear not in attention]
    into, out = _parted(attention)
    expanding, ending = _parted(others)
    wide = sum(1 for name, norm in layer.norms.items() if norm == width or "head" in name)

    def group(linears: list[Linear], kept: float) -> list[Step]:
        outputs = sum(linear.outputs for linear in linears)
        inputs = max((linear.inputs for linear in linears), default=0)
        ranks = numbers.rank * sum(1 for linear in linears if linear.module in adapted)
        dense = sum(linear.numel for linear in linears) if numbers.is_quantised else 0
        made = size * outputs
        step = Step(
            kept=size * ranks + kept, forward=made - kept, backward=made + size * inputs, fixed=float(size * dense)
        )
        return [step] if linears else []

    norm = Step(kept=2 * size * width + MASTER, backward=2 * size * width)
    after = Step(kept=size * width + MASTER, backward=2 * size * width)
    inner = max((linear.outputs for linear in expanding), default=0)
    inner = inner // 2 if len(expanding) == 1 and "gate_up" in expanding[0].name else inner
    both = sum(linear.outputs for linear in expanding)
    tape = [norm]
    tape += group(into, size * (heads + 2 * keys if is_compiled else keys))
    tape += [
        Step(
            kept=size * (2 * heads + keys) + MASTER * config.heads,
            backward=size * (4 * heads + 2 * keys) + MASTER * heads,
        )
    ]
    tape += group(out, 0)
    tape += [after] * (1 if wide > 2 else 0)
    tape += [norm] if others or config.experts_per_token else []
    tape += group(expanding, size * both)
    tape += [Step(kept=size * inner, backward=size * (both + inner))] if expanding else []
    tape += group(ending, 0)
    tape += [after] * (1 if wide > 3 else 0)
    if config.experts_per_token:
        each = config.expert_width
        tape += [Step(kept=config.experts_per_token * size * (3 * each + 2 * width), backward=2 * size * each)]
    return tape


def head_bytes(config: ModelConfig, tokens: int, learned: int, size: int) -> HeadBytes:
    """Logits of some tokens, which become their gradient in place, and the gradient of all hidden states.

    Args:
        config: of the model.
        tokens: of a micro-batch.
        learned: tokens with a label.
        size: bytes of the compute type.
    """
    hidden = size * tokens * config.width
    rows = min(learned, HEAD_ROWS)
    return HeadBytes(forward=2 * hidden + rows * size * (config.vocabulary + 2 * config.width), backward=3 * hidden)


def copy_bytes(spec: QLoRAJobSpec, shapes: Shapes) -> int:
    """The LoRA in the compute type."""
    sides = sum(linear.inputs + linear.outputs for linear in targets(spec.adapter, shapes))
    return BYTES[spec.compute_dtype] * rank(spec.adapter) * sides


def _parted(linears: list[Linear]) -> tuple[list[Linear], list[Linear]]:
    """Those that read the layer's residual, and those that end a block."""
    return [each for each in linears if not is_last(each)], [each for each in linears if is_last(each)]
