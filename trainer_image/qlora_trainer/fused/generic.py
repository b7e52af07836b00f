"""PEFT's module tree with faster parts: for any causal language model of transformers.

A forward is replaced where what it computes is known: LoRA layers, RMSNorms, gated feed-forward blocks, and attention
where there is flash attention. All else stays as transformers has it, and the loss is made from the last hidden state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from qlora_trainer.fused.attention import flash_attention, flash_fits, longest_of
from qlora_trainer.fused.description import epsilon_of, norm_weight
from qlora_trainer.fused.device import runs_triton
from qlora_trainer.fused.documents import Documents, documents_of
from qlora_trainer.fused.gate import ACTIVATIONS, gate
from qlora_trainer.fused.groups import Group, make_group, refresh
from qlora_trainer.fused.head import head_of
from qlora_trainer.fused.norm import norm
from qlora_trainer.fused.rotary import turn_by_kernel
from qlora_trainer.rank.loss import MicroBatch
from qlora_trainer.rank.transfer import moved

_INTO = ("q_proj", "k_proj", "v_proj")
ATTENTION = "qlora_documents"
"""The name under which transformers finds the attention within documents."""


class Generic:
    """The loss of a PEFT model, by way of its own modules.

    Args:
        base: the causal language model of transformers within the PEFT model.
        dtype: to compute in.

    Raises:
        ValueError: no LoRA layer is of a kind that is known, or the output layer is not; the message says so.
    """

    def __init__(self, base: Any, dtype: torch.dtype) -> None:
        self._base = base
        self._head = head_of(base)
        self._groups: list[Group] = []
        self._replaced: list[Any] = []
        self._in_blocks: set[int] = set()
        self._dtype = dtype
        self._attention = base.config._attn_implementation
        self._undo_turning: Callable[[], None] = lambda: None
        self._is_flash = flash_fits(dtype, _head_width(base.config), self._head.weight.device)
        reasons: set[str] = set()
        for module in base.modules():
            try:
                self._replace(module)
            except ValueError as error:
                reasons.add(str(error))
        if not self._groups:
            raise ValueError(f"no LoRA layer can be fused: {'; '.join(sorted(reasons))}")
        self._hook = base.base_model.register_forward_pre_hook(self._refresh)
        if self._is_flash:
            AttentionInterface.register(ATTENTION, attend)
            AttentionMaskInterface.register(ATTENTION, boundaries_as_mask)
            base.config._attn_implementation = ATTENTION
        if runs_triton(self._head.weight):
            self._undo_turning = turn_by_kernel(base)

    def restore(self) -> None:
        """Makes the model what it was."""
        for module in self._replaced:
            module.__dict__.pop("forward", None)
        self._base.config._attn_implementation = self._attention
        self._undo_turning()
        self._hook.remove()

    def loss_sum(self, batch: MicroBatch) -> Tensor:
        """Sum of the negative log-likelihoods of the learned tokens: a float32 scalar."""
        documents = documents_of(batch).to(self._base.device)
        hidden = self._in_one_row(documents) if self._is_flash else self._as_given(batch)
        return self._head.loss_sum(hidden, documents.labels, documents.learned)

    def _refresh(self, *_: Any) -> None:
        """Before each pass through the model, those that write texts among them."""
        refresh(self._groups)

    def _in_one_row(self, documents: Documents) -> Tensor:
        _current.set(documents)
        try:
            output = self._base.base_model(
                input_ids=documents.ids[None], position_ids=documents.positions[None], use_cache=False
            )
        finally:
            _current.clear()
        hidden: Tensor = output.last_hidden_state
        return hidden[0]

    def _as_given(self, batch: MicroBatch) -> Tensor:
        device = self._base.device
        positions = {} if batch.position_ids is None else {"position_ids": moved(batch.position_ids, device)}
        mask = None if batch.attention_mask is None else moved(batch.attention_mask, device)
        output = self._base.base_model(
            input_ids=moved(batch.input_ids, device), attention_mask=mask, use_cache=False, **positions
        )
        hidden: Tensor = output.last_hidden_state.flatten(0, 1)
        return hidden if mask is None else hidden[mask.flatten().bool()]

    def _replace(self, module: Any) -> None:
        """Gives a module another forward, if it is of a kind that is known."""
        if all(isinstance(getattr(module, name, None), LoraLayer) for name in _INTO):
            shared = Shared(self._group(*(getattr(module, name) for name in _INTO)))
            for number, name in enumerate(_INTO):
                self._in_blocks.add(id(getattr(module, name)))
                self._let_forward(getattr(module, name), partial(shared.part, number))
        elif isinstance(module, LoraLayer):
            if id(module) not in self._in_blocks:
                self._let_forward(module, partial(_linear, self._group(module)))
        elif type(module).__name__.endswith("RMSNorm"):
            one = 1.0 if type(module).__name__.startswith("Gemma") else 0.0
            weight, epsilon = norm_weight(module), epsilon_of(module)
            self._let_forward(module, partial(_norm, weight, epsilon, one))
        elif all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):
            config = self._base.config
            name = str(getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None))
            if name in ACTIVATIONS:
                both = self._group(module.gate_proj, module.up_proj)
                self._in_blocks |= {id(module.gate_proj), id(module.up_proj)}
                self._let_forward(module, partial(_feed_forward, both, ACTIVATIONS[name], module))

    def _group(self, *modules: Any) -> Group:
        group = make_group(modules, self._dtype)
        self._groups.append(group)
        return group

    def _let_forward(self, module: Any, forward: Callable[..., Any]) -> None:
        module.forward = forward
        self._replaced.append(module)


class Shared:
    """Linear modules that are called one after another with the same input, and computed at once.

    Args:
        group: of these modules.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._input: Tensor | None = None
        self._parts: dict[int, Tensor] = {}

    def part(self, number: int, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """What one of them returns. Nothing is held when all have been called."""
        if self._input is not x or number not in self._parts:
            whole = _linear(self._group, x)
            self._input, self._parts = x, dict(enumerate(torch.split(whole, list(self._group.sizes.outputs), dim=-1)))
        part = self._parts.pop(number)
        if not self._parts:
            self._input = None
        return part


def _linear(group: Group, x: Tensor, *_: Any, **__: Any) -> Tensor:
    flat = group(x.reshape(-1, x.shape[-1]))
    return flat.view(*x.shape[:-1], flat.shape[-1])


def _norm(weight: Tensor, epsilon: float, one: float, x: Tensor) -> Tensor:
    return norm(x, weight, epsilon, one)


def _feed_forward(both: Group, is_gelu: bool, module: Any, x: Tensor) -> Tensor:
    inner: Tensor = gate(both(x.reshape(-1, x.shape[-1])), is_gelu)
    result: Tensor = module.down_proj(inner)
    return result.view(x.shape)


class _Current:
    """The documents of the pass that is under way, while transformers asks for its mask."""

    def __init__(self) -> None:
        self.boundaries: Tensor | None = None
        self.longest = torch.zeros((), dtype=torch.int64)

    def set(self, documents: Documents) -> None:
        """Attention is within these documents from now on."""
        self.boundaries, self.longest = documents.boundaries, longest_of(documents.longest)

    def clear(self) -> None:
        """Masks are transformers' own again. `longest` stays, for layers that are computed again."""
        self.boundaries = None


_current = _Current()


def boundaries_as_mask(*inputs: Any, **named: Any) -> Tensor | None:
    """Where documents end, handed down to `attend` in the place of a mask; outside of a loss, PyTorch's mask."""
    if _current.boundaries is not None:
        return _current.boundaries
    mask: Tensor | None = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*inputs, **named)
    return mask


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, dropout: float = 0.0,
    scaling: float | None = None, sliding_window: int | None = None, **named: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """transformers' attention within documents: (1, heads, tokens, width) to (1, tokens, heads, width)."""
    if attention_mask is None or attention_mask.dtype != torch.int32:
        result: tuple[Tensor, None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **named
        )
        return result
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if named.get(name) is not None]
    if dropout or unknown:
        raise ValueError(f"its attention has {', '.join(unknown) or 'dropout'}")
    parts = [each[0].transpose(0, 1) for each in (query, key, value)]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = flash_attention(*parts, attention_mask, _current.longest, sliding_window or 0, scale)[0]
    return out[None], None


def _head_width(config: Any) -> int:
    width: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return width
