"""Causal attention within documents that stand one after another.

On a GPU with flash attention it is one kernel that is told where documents end: what PyTorch's operation runs is chosen
once, by the card and by what is installed. Elsewhere it is PyTorch's own attention with a mask of documents.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qlora_trainer import log

_GRAIN, _LEAST = 128, 256
"""The longest document is taken for a multiple of so many tokens, and no less: kernels are chosen by it, and FA4 is
compiled anew for documents that fit in one block."""


def flash_fits(dtype: torch.dtype, head_width: int, device: torch.device) -> bool:
    """Whether flash attention computes in a type, with heads of a width, on a device."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    is_built = torch.backends.cuda.is_flash_attention_available()
    return is_built and torch.cuda.get_device_capability(device) >= (8, 0) and head_width <= 256 and not head_width % 8


def preferred_kernels(capability: tuple[int, int]) -> list[str]:
    """Implementations that PyTorch can be given beside its own, the fastest on a card first."""
    return {9: ["FA4", "FA3"], 10: ["FA4"]}.get(capability[0], [])


def choose_flash(device: torch.device) -> str:
    """Makes PyTorch run the fastest implementation that is installed, and returns its name. FA2 is PyTorch's own."""
    for name in preferred_kernels(torch.cuda.get_device_capability(device)):
        try:
            torch.nn.attention.activate_flash_attention_impl(name)
        except Exception as error:  # what is not installed, or not for this card
            log.event("attention_kernel_absent", kernel=name, message=f"{type(error).__name__}: {error}"[:200])
        else:
            return name
    return "FA2"


def restore_flash() -> None:
    """Makes PyTorch run its own implementation again."""
    with suppress(AttributeError):  # a PyTorch that has no other
        if torch.nn.attention.current_flash_attention_impl() is not None:
            torch.nn.attention.restore_flash_attention_impl()


@torch.library.custom_op("qlora::attention", mutates_args=())
def flash_attention(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, longest: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Flash attention within documents.

    Args:
        query: (tokens, heads, width).
        key: (tokens, key heads, width).
        value: as key.
        boundaries: where documents begin and the last one ends: int32 of shape (documents + 1,).
        longest: tokens of the longest document, an integer on the CPU: a tensor, so that it is no part of a graph.
        window: tokens that a token sees, itself among them; 0: all before it.
        scale: of the products of queries and keys.

    Returns:
        Of the shape of query; and the logarithm of the sums, float32 of shape (heads, tokens).
    """
    most = int(longest)
    left, right = _window(window, most)
    out = torch.ops.aten._flash_attention_forward(
        query, key, value, boundaries, boundaries, most, most, 0.0, True, False,
        scale=scale, window_size_left=left, window_size_right=right,
    )  # fmt: skip
    return out[0], out[1].reshape(query.shape[1], query.shape[0])


@flash_attention.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, longest: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor]:
    return query.new_empty(query.shape), query.new_empty(query.shape[1], query.shape[0], dtype=torch.float32)


@torch.library.custom_op("qlora::attention_backward", mutates_args=())
def flash_attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, logs: Tensor, boundaries: Tensor,
    longest: Tensor, window: int, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of query, key and value."""
    most = int(longest)
    left, right = _window(window, most)
    state = torch.zeros(2, device=query.device, dtype=torch.uint64)  # of the dropout that there is not
    found = torch.ops.aten._flash_attention_backward(
        gradient, query, key, value, out, logs, boundaries, boundaries, most, most, 0.0, True, state, state[0],
        scale=scale, window_size_left=left, window_size_right=right,
    )  # fmt: skip
    return found[0].contiguous(), found[1].contiguous(), found[2].contiguous()


@flash_attention_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, logs: Tensor, boundaries: Tensor,
    longest: Tensor, window: int, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def longest_of(tokens: int) -> Tensor:
    """The length of the longest document as `flash_attention` takes it."""
    return torch.tensor(max(-(-tokens // _GRAIN) * _GRAIN, _LEAST))


def document_mask(boundaries: Tensor, tokens: int, window: int = 0) -> Tensor:
    """Which token sees which: bool of shape (tokens, tokens)."""
    place = torch.arange(tokens, device=boundaries.device)
    document = torch.searchsorted(boundaries[1:].long(), place, right=True)
    mask = (document[:, None] == document[None, :]) & (place[:, None] >= place[None, :])
    return mask & (place[:, None] - place[None, :] < window) if window else mask


def masked_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The same as `flash_attention` by a mask of documents, in memory that grows with the square of the tokens."""
    query, key, value = (each.transpose(0, 1)[None] for each in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    out = functional.scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=grouped)
    return out[0].transpose(0, 1)


def _window(window: int, longest: int) -> tuple[int | None, int | None]:
    return (window - 1, 0) if 0 < window < longest else (None, None)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, boundaries, longest, *ctx.numbers = inputs
    ctx.save_for_backward(query, key, value, *output, boundaries, longest)


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
    operation = torch.ops.qlora.attention_backward
    found = operation(gradient.contiguous(), *ctx.saved_tensors, *ctx.numbers)
    return (*found, None, None, None, None)


flash_attention.register_autograd(_gradients, setup_context=_keep)
