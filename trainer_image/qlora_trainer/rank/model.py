"""The frozen base in 4 bits, with a float32 adapter on top."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from qlora_api.reasons import Reason
from qlora_api.spec import AdapterSpec, QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.targets import ALL_LINEAR


def load_model(folder: str, spec: QLoRAJobSpec, device: torch.device) -> Any:
    """The PEFT model to train, on the device of this rank.

    Raises:
        TrainerError: transformers cannot load the base, or PEFT cannot adapt it.
    """
    try:
        base = load_base(folder, spec, device)
    except (ValueError, KeyError, ImportError) as error:
        raise TrainerError(
            Reason.MODEL_INVALID,
            f"model.source {spec.model.source}: {error}; write a causal language model of transformers",
        ) from error
    base.config.use_cache = False
    torch.manual_seed(spec.training.seed)
    try:
        model = get_peft_model(base, lora_config(spec.adapter))
    except ValueError as error:
        raise TrainerError(Reason.USER_ERROR, f"adapter: {error}") from error
    if spec.training.gradient_checkpointing:
        # Without re-entrance the inputs need no gradient, so neither does the frozen embedding.
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    return model


def load_base(folder: str, spec: QLoRAJobSpec, device: torch.device) -> Any:
    """The base model, quantised while it is read."""
    base = AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=quantization_config(spec),
        dtype=getattr(torch, spec.compute_dtype),
        device_map={"": device},
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="sdpa",
        local_files_only=True,
    )
    disable_cpu_repacking(base)
    return base


def disable_cpu_repacking(model: Any) -> None:
    """Keeps 4-bit layers from packing their weights for inference.

    On CPUs with AVX512-BF16 one forward pass in eval mode repacks them for good, and gradients are wrong from then on.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quantization_config(spec: QLoRAJobSpec) -> BitsAndBytesConfig | None:
    """How bitsandbytes quantises the base, or None if it stays as it is."""
    if spec.quantization.type == "none":
        return None
    double_quant = spec.quantization.double_quant
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=spec.quantization.type,
        bnb_4bit_use_double_quant=True if double_quant is None else double_quant,
        bnb_4bit_compute_dtype=getattr(torch, spec.compute_dtype),
    )


def lora_config(adapter: AdapterSpec) -> LoraConfig:
    """PEFT's form of the adapter."""
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets if adapter.targets == ALL_LINEAR else adapter.targets.split(","),
        task_type="CAUSAL_LM",
    )
