"""Which jobs the fast ways through a layer are for: `training.kernels` fused and compiled.

`REFUSALS` is read twice: by the CRD, whose rules refuse a job that names one of them, and by the trainer, which with
`auto` falls back and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from qlora_api.spec import QLoRAJobSpec

FAST = ("fused", "compiled")
METHODS = ("lora", "rslora", "lora-plus")
"""Methods whose adapter is a plain LoRA on the base as it is."""
QUANTIZATIONS = ("nf4", "none")
MODEL_TYPES = ("gemma", "gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3")
"""Values of `model_type` whose layers are compiled: llama also SmolLM2, phi3 also Phi-4, qwen2 also 2.5."""
HEAD_ROWS = 4096
"""Tokens whose logits are there at once."""
FLOAT_PORTION = 256
"""Tokens whose logits the plain loss has in float32 at once."""
_OR_PLAIN = "or training.kernels: plain"


class Refusal(NamedTuple):
    """Jobs that compute their layers as PEFT and transformers do."""

    because: str
    """What is wrong, and what to write instead."""
    rule: str
    """A CEL expression over `spec` that is false for them."""
    covers: Callable[[QLoRAJobSpec], bool]


REFUSALS = (
    Refusal(
        "training.kernels: fused and compiled are for a plain LoRA; write adapter.method: lora, rslora or lora-plus, "
        + _OR_PLAIN,
        f"self.adapter.method in {list(METHODS)}",
        lambda spec: spec.adapter.method not in METHODS,
    ),
    Refusal(
        f"training.kernels: fused and compiled drop no inputs; write adapter.dropout: 0, {_OR_PLAIN}",
        "!has(self.adapter.dropout) || double(self.adapter.dropout) == 0.0",
        lambda spec: bool(spec.adapter.parameters.get("dropout")),
    ),
    Refusal(
        "training.kernels: fused and compiled train the LoRA alone; remove adapter.trainableTokens and "
        "adapter.modulesToSave, or write training.kernels: plain",
        "!has(self.adapter.trainableTokens) && !has(self.adapter.modulesToSave)",
        lambda spec: bool(spec.adapter.trainable_tokens or spec.adapter.modules_to_save),
    ),
    Refusal(
        "training.kernels: fused and compiled are for text; remove adapter.towers, or write training.kernels: plain",
        "!has(self.adapter.towers)",
        lambda spec: spec.adapter.towers is not None,
    ),
    Refusal(
        f"training.kernels: fused and compiled read a base in nf4; write quantization.type: nf4 or none, {_OR_PLAIN}",
        f"self.quantization.type in {list(QUANTIZATIONS)}",
        lambda spec: spec.quantization.type not in QUANTIZATIONS,
    ),
    Refusal(
        "training.kernels: fused and compiled need whole weights on every rank; write deepspeed.zeroStage: 2 or less, "
        + _OR_PLAIN,
        "self.deepspeed.zeroStage <= 2",
        lambda spec: spec.deepspeed.zero_stage > 2,
    ),
)


def refusal(spec: QLoRAJobSpec) -> str | None:
    """Why a job's layers are computed as PEFT and transformers do, with what to write instead; None if none is known.

    A model may still have something that the fast ways do not know.
    """
    return next((row.because for row in REFUSALS if row.covers(spec)), None)


def rules() -> list[tuple[str, str]]:
    """CEL rules of `spec`, each with its message."""
    return [(f"!(self.training.kernels in {list(FAST)}) || ({row.rule})", row.because) for row in REFUSALS]
