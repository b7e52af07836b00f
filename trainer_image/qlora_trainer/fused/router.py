"""A model's forward that leads to another way of computing the loss when it is called with a micro-batch.

DeepSpeed's engine has to be in the way of each loss, since it prepares its backward pass then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from qlora_trainer.rank.loss import MicroBatch

LossOfBatch = Callable[[MicroBatch], Tensor]
LossOfModel = Callable[[Any, MicroBatch], Tensor]


def route(model: Any, loss_of: LossOfBatch) -> LossOfModel:
    """Lets a PEFT model, and an engine around it, compute its loss another way. All other calls stay as they are."""
    plain = type(model).forward

    def forward(*inputs: Any, fast_batch: MicroBatch | None = None, **named: Any) -> Any:
        return plain(model, *inputs, **named) if fast_batch is None else loss_of(fast_batch)

    model.forward = forward
    return loss_sum


def unroute(model: Any) -> None:
    """Takes it back."""
    model.__dict__.pop("forward", None)


def loss_sum(model: Any, batch: MicroBatch) -> Tensor:
    """Sum of the negative log-likelihoods of the learned tokens: a float32 scalar. As `rank.loss.loss_sum`."""
    loss: Tensor = model(fast_batch=batch)
    return loss
