"""A causal language model as one compiled layer that runs with the weights of each layer in turn.

The weights are those of the loaded model: the base's own tensors, and the very parameters that PEFT has added.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from qlora_trainer.fused.attention import document_mask, flash_fits, longest_of
from qlora_trainer.fused.description import Layer, LayerShape, describe, epsilon_of, norm_weight
from qlora_trainer.fused.documents import Documents, documents_of
from qlora_trainer.fused.groups import refresh
from qlora_trainer.fused.head import head_of
from qlora_trainer.fused.layer import LayerFunction, Places, layer_function, rms_norm
from qlora_trainer.rank.loss import MicroBatch


class Decoder:
    """The loss of a PEFT model, another way.

    Args:
        base: the causal language model of transformers within the PEFT model.
        dtype: to compute in.
        recomputes: whether layers are computed again in the backward pass.
        compiles: whether the layer is compiled.

    Raises:
        ValueError: the model has something that is not known; the message says what.
    """

    def __init__(self, base: Any, dtype: torch.dtype, recomputes: bool, compiles: bool) -> None:
        self._decoder = base.base_model
        self._layers = describe(base, dtype)
        self._head = head_of(base)
        self._norm = norm_weight(self._decoder.norm)
        self._epsilon = epsilon_of(self._decoder.norm)
        self._recomputes = recomputes
        self._functions: dict[LayerShape, LayerFunction] = {}
        for layer in self._layers:
            if layer.shape not in self._functions:
                function = layer_function(layer.shape)
                self._functions[layer.shape] = torch.compile(function) if compiles else function
        self._has_kinds = "layer_type" in inspect.signature(self._decoder.rotary_emb.forward).parameters
        self._is_flash = flash_fits(dtype, self._layers[0].shape.head_width, self._norm.device)

    def loss_sum(self, batch: MicroBatch) -> Tensor:
        """Sum of the negative log-likelihoods of the learned tokens: a float32 scalar."""
        documents = documents_of(batch).to(self._norm.device)
        refresh(group for layer in self._layers for group in layer.groups)
        x: Tensor = self._decoder.embed_tokens(documents.ids)
        x = x.detach().requires_grad_(torch.is_grad_enabled())  # so that the first layer is compiled as the others are
        _let_vary(x)
        made: dict[tuple[str | None, int], Places] = {}
        for layer in self._layers:
            kind = layer.kind, layer.shape.window
            if kind not in made:
                made[kind] = self._places(documents, layer)
            function = self._functions[layer.shape]
            if self._recomputes and torch.is_grad_enabled():
                x = checkpoint(
                    function, x, made[kind], layer.weights, use_reentrant=False, preserve_rng_state=False
                )  # fmt: skip
            else:
                x = function(x, made[kind], layer.weights)
        x = rms_norm(x, self._norm, self._epsilon, self._layers[0].shape.one)
        return self._head.loss_sum(x, documents.labels, documents.learned)

    @torch.no_grad()
    def _places(self, documents: Documents, layer: Layer) -> Places:
        """As the model's own module for positions tells them, in float32."""
        like = torch.empty(0, device=documents.ids.device)
        kinds = (layer.kind,) if self._has_kinds else ()
        cosine, sine = self._decoder.rotary_emb(like, documents.positions[None], *kinds)
        half = cosine.shape[-1] // 2
        tokens = len(documents.ids)
        mask = None if self._is_flash else document_mask(documents.boundaries, tokens, layer.shape.window)
        places = Places(
            cosine[0, :, None, :half].contiguous(),
            sine[0, :, None, :half].contiguous(),
            documents.boundaries,
            longest_of(documents.longest),
            mask,
        )
        for tensor in (places.cosine, places.sine, places.boundaries):
            _let_vary(tensor)
        if mask is not None:
            _let_vary(mask, 0, 1)
        return places


def _let_vary(tensor: Tensor, *dimensions: int) -> None:
    """Tells the compiler that sizes differ from batch to batch, so that it compiles once. None named: the first."""
    torch._dynamo.maybe_mark_dynamic(tensor, list(dimensions) or [0])
