"""The output layer and the loss together: logits of a few thousand tokens at a time, and only where there is a label.

The gradient of the last hidden state is made in the forward pass, while the logits of its tokens are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qlora_api.kernels import HEAD_ROWS
from qlora_trainer.fused.device import runs_triton

_COLUMNS = 8192


@dataclass(frozen=True)
class Head:
    """The output layer of a model."""

    weight: Tensor
    """(vocabulary, width), frozen."""
    scale: float = 1.0
    """What logits are multiplied by."""
    cap: float = 0.0
    """What they are bounded by: cap * tanh(logit / cap); 0 without a bound."""

    def loss_sum(self, hidden: Tensor, labels: Tensor, learned: Tensor) -> Tensor:
        """Sum of the negative log-likelihoods of the labels: a float32 scalar.

        Args:
            hidden: (tokens, width).
            labels: int64 of shape (tokens,).
            learned: the tokens that have a label: int64 of shape (learned tokens,), rising.
        """
        loss: Tensor = _HeadLoss.apply(hidden, labels, learned, self)
        return loss


def head_of(model: Any) -> Head:
    """The output layer of a causal language model of transformers.

    Raises:
        ValueError: it is no frozen linear layer without a bias; the message says so.
    """
    module, config = model.get_output_embeddings(), model.config
    if type(module) is not torch.nn.Linear or module.bias is not None:
        raise ValueError(f"its output layer is a {type(module).__name__} that the chunked loss does not know")
    if module.weight.requires_grad:
        raise ValueError("its output layer is trained")
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return Head(module.weight.detach(), scale, float(getattr(config, "final_logit_softcapping", None) or 0.0))


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, hidden: Tensor, labels: Tensor, learned: Tensor, head: Head) -> Tensor:
        gradient = torch.zeros_like(hidden) if context.needs_input_grad[0] else None
        kind = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=kind, device=hidden.device)
        for rows in torch.split(learned, HEAD_ROWS):
            logits = hidden[rows] @ head.weight.t()
            total += _losses_and_gradient(logits, labels[rows], head).sum()
            if gradient is not None:
                gradient.index_copy_(0, rows, logits @ head.weight)
            del logits
        context.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None, None


def _losses_and_gradient(logits: Tensor, labels: Tensor, head: Head) -> Tensor:
    """The losses of some tokens, float32; the logits become their gradient."""
    if not runs_triton(logits):
        return _plainly(logits, labels, head)
    from qlora_trainer.fused.kernels import likelihood

    losses = torch.empty(len(labels), dtype=torch.float32, device=logits.device)
    likelihood[(len(labels),)](
        logits, labels, losses, logits.stride(0), head.scale, head.cap or 1.0, logits.shape[1],
        IS_CAPPED=head.cap > 0, BLOCK=_COLUMNS, num_warps=16,
    )  # fmt: skip
    return losses


def _plainly(logits: Tensor, labels: Tensor, head: Head) -> Tensor:
    kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
    values = logits.to(kind) * head.scale
    slope: Tensor | float = head.scale
    if head.cap:
        bounded = torch.tanh(values / head.cap)
        values, slope = head.cap * bounded, head.scale * (1 - bounded * bounded)
    logs = values.log_softmax(dim=1)
    own = labels[:, None]
    losses = -logs.gather(1, own).squeeze(1)
    gradient = logs.exp_()
    gradient.scatter_add_(1, own, torch.full_like(own, -1, dtype=gradient.dtype))
    logits.copy_(gradient * slope)
    return losses
