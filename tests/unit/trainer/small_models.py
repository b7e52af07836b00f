"""Models of several families, small enough for a test, with random weights that matter."""

from __future__ import annotations

from typing import Any

_COMMON = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _COMMON,
    "qwen2": _COMMON,
    "qwen3": {**_COMMON, "head_dim": 16},
    "mistral": {**_COMMON, "sliding_window": 6},
    "gemma3_text": {
        **_COMMON,
        "head_dim": 16,
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mixtral": {**_COMMON, "num_local_experts": 2, "num_experts_per_tok": 1},
    "gpt2": {"vocab_size": 128, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
}
COUNTS_ITS_OWN_POSITIONS = {
    "vocab_size": 128,
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    "word_embed_proj_dim": 32,
}
HAS_RECURRENT_LAYERS = {
    **_COMMON,
    "head_dim": 16,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}


def build(family: str, config: dict[str, Any] | None = None) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = config or FAMILIES[family]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config), attn_implementation="sdpa")
    return model.eval()  # no dropout
