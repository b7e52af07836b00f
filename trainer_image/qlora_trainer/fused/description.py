"""What a decoder layer consists of, read from a loaded model: one description for all families that are known.

A model is known if its type is in `MODEL_TYPES` and its layers hold the modules that are named here and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qlora_api.kernels import MODEL_TYPES
from qlora_trainer.fused.gate import ACTIVATIONS
from qlora_trainer.fused.groups import Group, Sizes, Weights, make_group

_SANDWICH = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
_OF_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm", *_SANDWICH}
_OF_ATTENTION = {"q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "q_norm", "k_norm"}
_OF_FEED = {"gate_proj", "up_proj", "gate_up_proj", "down_proj", "act_fn", "activation_fn"}
_DROPOUTS = ("attention_dropout", "resid_pdrop", "embd_pdrop", "hidden_dropout")


@dataclass(frozen=True)
class LayerShape:
    """What is part of the compiled code."""

    heads: int
    key_heads: int
    head_width: int
    scale: float
    """Of the products of queries and keys."""
    window: int
    """Tokens that a token sees, itself among them; 0: all before it."""
    rotates: bool
    """Whether queries and keys are turned by their positions."""
    one: float
    """Added to the weights of norms."""
    epsilon: float
    is_gelu: bool
    is_sandwich: bool
    """Whether the results of attention and feed-forward block are normed too, before they join the residual."""
    has_head_norms: bool
    """Whether each head's query and key are normed."""
    into: Sizes
    """Of queries, keys and values."""
    out: Sizes
    expand: Sizes
    """Of gate and up."""
    end: Sizes


class LayerWeights(NamedTuple):
    """What goes into it."""

    norms: list[Tensor]
    """In the order in which they are used: those of queries and keys stand between the first and the second."""
    into: Weights
    out: Weights
    expand: Weights
    end: Weights


class Layer(NamedTuple):
    """One decoder layer."""

    shape: LayerShape
    weights: LayerWeights
    groups: list[Group]
    kind: str | None
    """By which a model tells apart positions of several kinds."""


def describe(base: Any, dtype: torch.dtype) -> list[Layer]:
    """The layers of a model.

    Args:
        base: a causal language model of transformers, with PEFT's LoRA in it.
        dtype: to compute in.

    Raises:
        ValueError: there is something that is not known; the message says what.
    """
    config = base.config
    if config.model_type not in MODEL_TYPES:
        raise ValueError(f"model_type {config.model_type} is not among {', '.join(MODEL_TYPES)}")
    for name in _DROPOUTS:
        if getattr(config, name, None):
            raise ValueError(f"config.json has {name}: {getattr(config, name)}")
    if getattr(config, "use_bidirectional_attention", None) or getattr(config, "attn_logit_softcapping", None):
        raise ValueError("its attention is not plain and causal")
    act = getattr(config, "hidden_activation", None) or config.hidden_act
    if act not in ACTIVATIONS:
        raise ValueError(f"its activation {act} is not among {', '.join(ACTIVATIONS)}")
    return [_layer(layer, config, ACTIVATIONS[act], dtype) for layer in base.base_model.layers]


def _layer(layer: Any, config: Any, is_gelu: bool, dtype: torch.dtype) -> Layer:
    attention, feed = layer.self_attn, layer.mlp
    for module, known in ((layer, _OF_LAYER), (attention, _OF_ATTENTION), (feed, _OF_FEED)):
        more = [name for name, child in module.named_children() if name not in known and not _does_nothing(child)]
        if more:
            raise ValueError(f"{type(module).__name__} has {', '.join(more)}")
    is_sandwich = hasattr(layer, _SANDWICH[0])
    has_head_norms = hasattr(attention, "q_norm")
    norms = [layer.input_layernorm]
    norms += [attention.q_norm, attention.k_norm] if has_head_norms else []
    norms += [layer.post_attention_layernorm]
    norms += [getattr(layer, name) for name in _SANDWICH] if is_sandwich else []
    into = make_group(_named(attention, "qkv_proj", "q_proj", "k_proj", "v_proj"), dtype)
    out = make_group([attention.o_proj], dtype)
    expand = make_group(_named(feed, "gate_up_proj", "gate_proj", "up_proj"), dtype)
    end = make_group([feed.down_proj], dtype)
    groups = [into, out, expand, end]
    window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    shape = LayerShape(
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        head_width=attention.head_dim,
        scale=float(attention.scaling),
        window=int(window or 0),
        rotates=bool(getattr(attention, "use_rope", True)),
        one=1.0 if config.model_type.startswith("gemma") else 0.0,
        epsilon=epsilon_of(layer.input_layernorm),
        is_gelu=is_gelu,
        is_sandwich=is_sandwich,
        has_head_norms=has_head_norms,
        into=into.sizes,
        out=out.sizes,
        expand=expand.sizes,
        end=end.sizes,
    )
    weights = LayerWeights([norm_weight(norm) for norm in norms], *(group.weights for group in groups))
    return Layer(shape, weights, groups, getattr(attention, "layer_type", None))


def norm_weight(module: Any) -> Tensor:
    """The weight of an RMSNorm.

    Raises:
        ValueError: it is another module, or trained.
    """
    if not type(module).__name__.endswith("RMSNorm"):
        raise ValueError(f"it has a {type(module).__name__} in the place of an RMSNorm")
    if module.weight.requires_grad:
        raise ValueError("its norms are trained")
    weight: Tensor = module.weight.detach()
    return weight


def epsilon_of(norm: Any) -> float:
    """What an RMSNorm adds to the mean square, which families call by two names."""
    return float(norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps)


def _named(module: Any, joint: str, *single: str) -> list[Any]:
    return [getattr(module, joint)] if hasattr(module, joint) else [getattr(module, name) for name in single]


def _does_nothing(module: Any) -> bool:
    return isinstance(module, torch.nn.Dropout) and module.p == 0
