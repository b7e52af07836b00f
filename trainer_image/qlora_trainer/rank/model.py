"""The frozen base, quantised, with a float32 adapter on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer, BitsAndBytesConfig

from qlora_api.methods import FROM_WEIGHTS
from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import Family, family_of
from qlora_trainer.rank.adapter import adapter_config
from qlora_trainer.rank.initial import begin_from_weights
from qlora_trainer.rank.precision import keep_dtypes, shift_kept_positions
from qlora_trainer.rank.sharded_load import load_shares
from qlora_trainer.rank.stage3 import is_shared_out_from_host, let_dora_gather
from qlora_trainer.rank.towers import towers_config, unquantised


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
    adapter = spec.adapter
    family = family_of(Path(folder))
    if family is None:
        config = adapter_config(adapter, spec.training.seed, _token_ids(folder, spec))
    else:
        config = towers_config(base, family, adapter)
    if getattr(config, "use_dora", False):
        let_dora_gather()
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise TrainerError(Reason.USER_ERROR, f"adapter: {error}") from error
    if adapter.method in FROM_WEIGHTS:
        model.first_factors = begin_from_weights(model, adapter.method, Path(folder), spec.training.seed)
    keep_dtypes(model)
    shift_kept_positions(model)
    if spec.training.gradient_checkpointing:
        # Without re-entrance the inputs need no gradient, so neither does the frozen embedding.
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    return model


def load_base(folder: str, spec: QLoRAJobSpec, device: torch.device) -> Any:
    """The base model, quantised while it is read. Collective under ZeRO-3, where a rank may keep only its share."""
    family = family_of(Path(folder))
    quantization = quantization_config(spec, family)
    base = load_shares(Path(folder), spec, quantization, device) if family is None else None
    if base is None:
        base = _load_whole(folder, spec, quantization, device, family)
    disable_cpu_repacking(base)
    return base


def _load_whole(
    folder: str,
    spec: QLoRAJobSpec,
    quantization: BitsAndBytesConfig | None,
    device: torch.device,
    family: Family | None,
) -> Any:
    auto = AutoModelForCausalLM if family is None else AutoModelForImageTextToText
    return auto.from_pretrained(
        folder,
        quantization_config=quantization,
        dtype=getattr(torch, spec.compute_dtype),
        device_map={"": "cpu" if is_shared_out_from_host(spec) else device},
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="sdpa",
        local_files_only=True,
    )


def disable_cpu_repacking(model: Any) -> None:
    """Keeps 4-bit layers from packing their weights for inference.

    On CPUs with AVX512-BF16 one forward pass in eval mode repacks them for good, and gradients are wrong from then on.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quantization_config(spec: QLoRAJobSpec, family: Family | None = None) -> BitsAndBytesConfig | None:
    """How bitsandbytes quantises the base, or None if it stays as it is."""
    quantization = spec.quantization
    if quantization.type == "none":
        return None
    left_out = None if family is None else unquantised(family, spec)
    if quantization.type == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=left_out)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=left_out,
        bnb_4bit_quant_type=quantization.type,
        bnb_4bit_use_double_quant=True if quantization.double_quant is None else quantization.double_quant,
        bnb_4bit_compute_dtype=getattr(torch, spec.compute_dtype),
        bnb_4bit_quant_storage=getattr(torch, spec.storage_dtype),
    )


def _token_ids(folder: str, spec: QLoRAJobSpec) -> list[int]:
    """The ids of `adapter.trainableTokens`, which `fetch` has checked."""
    tokens = spec.adapter.trainable_tokens
    if not tokens:
        return []
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return [int(number) for number in tokenizer.convert_tokens_to_ids(list(tokens))]
