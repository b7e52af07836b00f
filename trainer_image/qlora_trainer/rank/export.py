"""Writes the trained adapter as PEFT reads it, from parameters that were gathered from all ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qlora_trainer.rank.initial import adapted, as_plain
from qlora_trainer.rank.partitions import trainable


def save_adapter(engine: Any, parameters: dict[str, torch.Tensor], folder: Path) -> None:
    """Saves the adapter. Only one rank calls it, and trains no more: with ZeRO-3 its model is of no use afterwards.

    PEFT runs the encoder of a prompt to save it. With ZeRO-3 that would wait for the other ranks for ever, so
    DeepSpeed's hooks are removed before.

    Args:
        engine: after training.
        parameters: the whole adapter, from `gather_parameters`.
        folder: where adapter_config.json and adapter_model.safetensors go.
    """
    model = engine.module
    if engine.zero_optimization_stage() == 3:
        engine.optimizer.parameter_offload._remove_module_hooks()
        for name, parameter in trainable(engine).items():
            parameter.data = parameters[name].to(engine.device)
    first = getattr(model, "first_factors", {})
    if first:
        _make_plain(model, first)
    model.save_pretrained(folder, save_embedding_layers=False)


@torch.no_grad()
def _make_plain(model: Any, first: Any) -> None:
    """PiSSA and OLoRA as a LoRA adapter of twice the rank on the model as it was."""
    for name, module in adapted(model):
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        new_a, new_b = as_plain(name, a.detach().cpu(), b.detach().cpu(), first)
        a.data, b.data = new_a, new_b
    config = model.peft_config["default"]
    config.r, config.lora_alpha = 2 * config.r, 2 * config.lora_alpha
