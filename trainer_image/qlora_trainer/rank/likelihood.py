"""The negative log-likelihood of labels, in float32, without a float32 copy of all logits.

torch's `cross_entropy` wants the logits in float32, keeps their log_softmax as large again, and on a CPU adds the
probabilities of a token up in one chain, whose error grows with the vocabulary. Here only FLOAT_PORTION tokens are in
float32 at a time, and `sum` adds in a tree.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function

from qlora_api.kernels import FLOAT_PORTION

IGNORED = -100
"""The label of a token from which nothing is learned."""


def negative_log_likelihood(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of the negative log-likelihoods of the labels, in nats.

    From the forward to the backward pass it keeps the logits as they are given, and one number a token. Backwards there
    is their gradient besides, in their own type.

    Args:
        logits: of shape (..., vocabulary), of any floating type.
        labels: int64 of shape (...), below the size of the vocabulary; IGNORED adds nothing, whatever its logits are.

    Returns:
        A float32 scalar; for float64 logits a float64 one.

    Raises:
        RuntimeError: on a CPU, a label is neither IGNORED nor in the vocabulary. CUDA stops with an assertion.
    """
    total: torch.Tensor = _NegativeLogLikelihood.apply(logits.flatten(0, -2), labels.flatten())
    return total


class _NegativeLogLikelihood(Function):
    """For logits of shape (tokens, vocabulary), portion by portion."""

    @staticmethod
    def forward(context: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        portions = zip(*map(_portions, (logits, labels)), strict=True)
        losses, normalizers = (torch.cat(each) for each in zip(*(_losses(*each) for each in portions), strict=True))
        context.save_for_backward(logits, labels, normalizers)
        return losses.sum(dtype=torch.float64).to(losses.dtype)

    @staticmethod
    def backward(context: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, labels, normalizers = context.saved_tensors
        gradient = torch.empty_like(logits)
        for portion, *given in zip(*map(_portions, (gradient, logits, labels, normalizers)), strict=True):
            portion.copy_(_gradient(*given).mul_(outer[0]))
        return gradient, None


def _portions(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Views of so many tokens each."""
    return torch.split(tensor, FLOAT_PORTION)


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each token, and the logarithm of the sum of its exponentials, which normalizes its probabilities."""
    shifted = _precise_copy(logits)
    largest = shifted.amax(1)
    shifted.sub_(largest[:, None])
    of_label = shifted.gather(1, _column(labels)).squeeze(1)
    logarithm = shifted.exp_().sum(1).log_()
    return (logarithm - of_label).masked_fill_(labels == IGNORED, 0), logarithm + largest


def _gradient(logits: torch.Tensor, labels: torch.Tensor, normalizers: torch.Tensor) -> torch.Tensor:
    """The probabilities, less one at the label."""
    gradient = _precise_copy(logits).sub_(normalizers[:, None]).exp_()
    column = _column(labels)
    gradient.scatter_(1, column, gradient.gather(1, column) - 1)
    return gradient.masked_fill_((labels == IGNORED)[:, None], 0)


def _precise_copy(logits: torch.Tensor) -> torch.Tensor:
    """In float32, or in float64 if they are; never the logits themselves."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)


def _column(labels: torch.Tensor) -> torch.Tensor:
    """An index of shape (tokens, 1) into the logits: any will do where the label is ignored."""
    return labels.masked_fill(labels == IGNORED, 0)[:, None]
