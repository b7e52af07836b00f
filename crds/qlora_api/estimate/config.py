"""What a model's config.json says that its weights do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a decoder."""

    width: int
    """Of a token's vector."""
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    is_tied: bool
    """Whether the output layer is the embedding."""
    has_soft_cap: bool
    """Whether the logits go through tanh."""
    experts_per_token: int = 0
    expert_width: int = 0
    window: int = 0
    """Tokens that a layer with a sliding window sees; 0 without."""
    layer_types: tuple[str, ...] = ()
    """Kind of each layer; none: all alike."""

    def has_window(self, layer: int, length: int) -> bool:
        """Whether a layer sees only a part of sequences of some length, for which its attention is given a mask."""
        slides = not self.layer_types or self.layer_types[layer] == "sliding_attention"
        return 0 < self.window < length and slides

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Reads config.json, of which families call the same thing by several names.

        Raises:
            ValueError: a size is missing, or the model reads images; the message says so.
        """
        if config.get("vision_config"):
            raise ValueError("config.json: the memory of images is not estimated; write a causal language model")
        text = config.get("text_config") or config
        width = _first(text, "hidden_size", "n_embd", "d_model")
        heads = _first(text, "num_attention_heads", "n_head", "num_heads", "n_heads")
        experts = text.get("num_experts_per_tok") or 0
        return cls(
            width=width,
            heads=heads,
            key_heads=text.get("num_key_value_heads") or heads,
            head_width=text.get("head_dim") or width // heads,
            vocabulary=_first(text, "vocab_size"),
            is_tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            has_soft_cap=bool(text.get("final_logit_softcapping")),
            experts_per_token=experts,
            window=(text.get("sliding_window") or 0) if text.get("use_sliding_window", True) else 0,
            layer_types=tuple(text.get("layer_types") or ()),
            expert_width=(text.get("moe_intermediate_size") or text.get("intermediate_size") or 0) if experts else 0,
        )


def _first(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    raise ValueError(f"config.json: has no {names[0]}; write the config.json that save_pretrained makes")
