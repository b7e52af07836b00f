"""Models of real shapes with random weights, made and quantised on the device that trains them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bitsandbytes
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from qlora_trainer.rank import model as model_module

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": (
        "llama",
        {
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": True,
        },
    ),
    "Qwen2.5-0.5B": (
        "qwen2",
        {
            "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
            "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
        },
    ),
    "Llama-3.2-1B": (
        "llama",
        {
            "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True,
        },
    ),
    "Llama-3.1-8B": (
        "llama",
        {
            "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
        },
    ),
    "Mistral-7B": (
        "mistral",
        {
            "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "vocab_size": 32000, "tie_word_embeddings": False, "sliding_window": None,
        },
    ),
}  # fmt: skip
"""Family and sizes of each."""


def config_of(shape: str) -> Any:
    """transformers' configuration of a shape."""
    family, sizes = SHAPES[shape]
    return AutoConfig.for_model(family, max_position_embeddings=32768, **sizes)


def random_base(shape: str, device: torch.device, quantization: str = "nf4", layers: int | None = None) -> Any:
    """A base with random weights in bfloat16, or quantised as transformers does it while it reads a file.

    Args:
        shape: a key of SHAPES.
        device: on which it is made.
        quantization: nf4 or none.
        layers: instead of the shape's own.
    """
    config = config_of(shape)
    config.num_hidden_layers = layers or config.num_hidden_layers
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if quantization == "none":
        return model
    head = model.get_output_embeddings()
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for name, module in found:
        if module is not head:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _quantised(module, device))
            module.weight = None
    model.is_loaded_in_4bit = True
    return model


def _quantised(module: torch.nn.Linear, device: torch.device) -> Any:
    with torch.device("meta"):
        small = bitsandbytes.nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=torch.bfloat16,
            compress_statistics=True,
            quant_type="nf4",
        )
    small.weight = bitsandbytes.nn.Params4bit(
        module.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=small
    ).to(device)
    small.bias = module.bias
    return small


@contextmanager
def loading(base: Any) -> Iterator[None]:
    """The trainer is given a model instead of reading a folder."""
    original = model_module.load_base
    model_module.load_base = lambda *_: base
    try:
        yield
    finally:
        model_module.load_base = original
