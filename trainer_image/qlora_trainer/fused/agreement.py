"""Whether another way of computing a loss agrees with the plain one: tried on the loaded model before it trains.

LoRA begins with B = 0, where nothing reaches A. So B is random while both are compared, and zero again afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qlora_trainer.rank.isolation import LENGTH
from qlora_trainer.rank.likelihood import IGNORED
from qlora_trainer.rank.loss import MicroBatch

LIMITS = {torch.float32: (1e-4, 1e-2)}
HALF_LIMITS = (1e-2, 0.2)
"""How far loss and gradients may be from the plain ones, as parts of them: for what float32 rounds, and for 16 bits.
Two plain ways differ by 0.03 in bfloat16; a norm with the wrong epsilon already makes 0.08 in each layer."""
_SPREAD = 0.02
"""Standard deviation of B, so that an adapter matters as much as a trained one."""


class Answer(NamedTuple):
    """What a way of computing gives for the probe."""

    loss: float
    gradients: list[Tensor]


def probe(model: Any, is_packed: bool) -> MicroBatch:
    """Random tokens: documents of unequal length in a sequence, or sequences of unequal length with padding.

    On a GPU there are some hundreds, since the compiler prepares for about as many as it sees first.
    """
    size = model.get_input_embeddings().num_embeddings
    generator = torch.Generator().manual_seed(0)
    first = (LENGTH if model.device.type == "cpu" else 8 * LENGTH) + 5
    length = 3 * first
    ids = torch.randint(size // 4, size // 2, (2, length), generator=generator)
    labels = ids.roll(-1, 1)
    labels[:, ::5] = labels[:, -1] = IGNORED
    mask = positions = None
    if is_packed:
        row = torch.cat([torch.arange(first), torch.arange(length - first)])
        positions = torch.stack([row, torch.arange(length)])
        labels[0, first - 1] = IGNORED
    else:
        mask = torch.ones_like(ids)
        mask[1, -first:] = 0
        labels[1, -first - 1 :] = IGNORED
    return MicroBatch(ids, labels, mask, positions)


def answer(model: Any, loss_of: Callable[[Any, MicroBatch], Tensor], batch: MicroBatch) -> Answer:
    """Loss and gradients, with B at random. The model is left as it was."""
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    kept = {name: value.detach().clone() for name, value in trained if "lora_B" in name}
    generator = torch.Generator(device=model.device).manual_seed(1)
    try:
        with torch.no_grad():
            for name, value in trained:
                if name in kept:
                    value.normal_(0, _SPREAD, generator=generator)
        loss = loss_of(model, batch)
        values = [value for _, value in trained]
        gradients = torch.autograd.grad(loss, values, allow_unused=True)
        pairs = zip(gradients, values, strict=True)
        found = [value.new_zeros(value.shape) if each is None else each for each, value in pairs]
        return Answer(float(loss.detach()), found)
    finally:
        with torch.no_grad():
            for name, value in trained:
                if name in kept:
                    value.copy_(kept[name])


def disagreement(plain: Answer, other: Answer, dtype: torch.dtype) -> str | None:
    """How far another answer is from the plain one, if it is too far; None if they agree."""
    most_loss, most_gradient = LIMITS.get(dtype, HALF_LIMITS)
    loss = abs(other.loss - plain.loss) / max(abs(plain.loss), 1e-12)
    squares = torch.stack([each.square().sum() for each in plain.gradients]).sum()
    pairs = zip(other.gradients, plain.gradients, strict=True)
    errors = torch.stack([(mine - each).square().sum() for mine, each in pairs]).sum()
    gradient = float((errors / squares.clamp(min=1e-24)).sqrt())
    if loss <= most_loss and gradient <= most_gradient:
        return None
    return f"its loss is {loss:.2%} and its gradient {gradient:.2%} from the plain one"
