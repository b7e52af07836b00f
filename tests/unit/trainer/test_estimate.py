"""The estimate beside what tensors really take: the trainer's model and loss, with every storage counted.

On a CPU attention keeps the same tensors as the kernels of CUDA do. Dropout does not, and is left out here.
"""

from __future__ import annotations

import gc
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from qlora_api.estimate import Estimate, estimate
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.fetch.weights import Shapes, read_folder_shapes
from qlora_trainer.rank.loss import MicroBatch, loss_sum
from qlora_trainer.rank.model import load_model
from unit.trainer.memory_meter import MemoryMeter
from unit.trainer.pods import spec

SIZES = {
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SIZES),
    "large vocabulary": ("llama", {**SIZES, "vocab_size": 4000}),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 32}),
    "gemma3": ("gemma3_text", {**SIZES, "head_dim": 32, "sliding_window": 128}),
    "capped": ("gemma3_text", {**SIZES, "vocab_size": 4000, "head_dim": 32, "final_logit_softcapping": 30.0}),
}


def job(micro_batch: int = 2, length: int = 384, checkpointing: bool = False, **adapter: Any) -> QLoRAJobSpec:
    return QLoRAJobSpec.model_validate(
        spec(
            quantization={"computeDtype": "bfloat16"},
            adapter={"rank": 8, **adapter},
            training={
                "globalBatchSize": micro_batch,
                "microBatchSize": micro_batch,
                "sequenceLength": length,
                "gradientCheckpointing": checkpointing,
            },
        )
    )


@cache
def saved_model(name: str) -> tuple[TemporaryDirectory[str], Shapes, dict[str, Any]]:
    family, sizes = FAMILIES[name]
    folder = TemporaryDirectory()
    config = AutoConfig.for_model(family, **sizes)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder.name)
    return folder, read_folder_shapes(Path(folder.name)), config.to_dict()


def measure(name: str, job: QLoRAJobSpec, is_padded: bool) -> tuple[int, int]:
    """Bytes kept from the forward to the backward pass, and the most of a micro-batch, beside model and gradients."""
    model = load_model(saved_model(name)[0].name, job, torch.device("cpu"))
    shape = job.training.micro_batch_size, job.training.sequence_length
    ids = torch.randint(0, 256, shape)
    mask = None
    if is_padded:
        mask = torch.ones(shape, dtype=torch.int64)
        mask[-1, -20:] = 0
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    meter = MemoryMeter()
    meter.know([*model.parameters(), *model.buffers(), ids])
    meter.know(parameter.grad for parameter in model.parameters() if parameter.grad is not None)
    with meter:
        loss = loss_sum(model, MicroBatch(ids, ids, mask, None))
        gc.collect()
        kept = meter.live
        loss.backward()
    return kept, meter.peak


def activations(found: Estimate) -> tuple[int, int]:
    """The same two figures of the estimate."""
    loss, backward, _ = found.phases
    kept = loss.parts["kept activations"]
    return kept, kept + max(loss.parts["logits and loss"], backward.parts["work of one layer"])


@pytest.mark.slow  # bitsandbytes quantises on a CPU at leisure
@pytest.mark.parametrize(
    ("name", "job", "is_padded"),
    [
        ("llama", job(), False),
        ("llama", job(micro_batch=3, length=256, checkpointing=True), True),
        ("llama", job(targets="q_proj,v_proj"), False),
        ("large vocabulary", job(micro_batch=1), False),
        ("qwen3", job(), True),
        ("gemma3", job(checkpointing=True), False),
        ("capped", job(checkpointing=True), False),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_activations_are_what_the_tensors_take(name: str, job: QLoRAJobSpec, is_padded: bool) -> None:
    _, shapes, config = saved_model(name)
    kept, peak = measure(name, job, is_padded)
    tokens = job.training.micro_batch_size * job.training.sequence_length
    predicted_kept, predicted_peak = activations(estimate(job, shapes, config, is_masked=is_padded))
    logits = 2 * tokens * config["vocab_size"]  # the estimate shows them with the loss
    assert predicted_peak == pytest.approx(peak, rel=0.05)
    if not job.training.gradient_checkpointing:
        assert predicted_kept == pytest.approx(kept - logits, rel=0.03)
