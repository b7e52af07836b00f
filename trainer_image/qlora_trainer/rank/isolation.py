"""Whether a model keeps the documents of a packed sequence apart.

Boundaries are told by `position_ids` alone, from which transformers derives a block-diagonal attention mask. Some
architectures do not look at them: convolutions and recurrent layers, and attention that counts its own positions. These
would train without an error on answers to other questions, so each model is tried before it trains.
"""

from __future__ import annotations

from typing import Any

import torch

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError

LENGTH = 16
LIMIT = 0.02
"""Influence of another document, as a part of what it has when both are one; more than rounding, less than a leak."""


def check_isolation(model: Any, source: str) -> None:
    """Tries the model with two documents in one sequence.

    Raises:
        TrainerError: UserError, if one of them has an influence on the other.
    """
    try:
        leak = leakage(model)
    except TypeError as error:  # it takes no position_ids
        raise _unfit(source, str(error)) from error
    if not leak <= LIMIT:
        raise _unfit(source, f"a document has {leak:.0%} of the influence that it has within one document")


def leakage(model: Any) -> float:
    """Influence of a document on the logits of the next one, as a part of what it is without a boundary: about 0 or 1.

    The second document must neither notice what the first one is, nor where in the sequence it stands.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    generator = torch.Generator().manual_seed(0)
    low, high = vocabulary // 4, vocabulary // 2  # no special tokens, which stand at the ends
    first, other, second = torch.randint(low, high, (3, LENGTH), generator=generator)
    apart = torch.arange(LENGTH).repeat(2)
    together = torch.arange(2 * LENGTH)

    def logits(left: torch.Tensor, right: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        ids = torch.cat([left, right])[None].to(model.device)
        output = model(input_ids=ids, position_ids=positions[None].to(model.device), use_cache=False)
        both: torch.Tensor = output.logits[0].float()
        return both

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            packed = logits(first, second, apart)[LENGTH:]
            differently_packed = logits(other, second, apart)[LENGTH:]
            at_the_front = logits(second, first, apart)[:LENGTH]
            joined = logits(first, second, together)[LENGTH:]
    finally:
        model.train(was_training)
    normal = _distance(joined, at_the_front)
    if normal == 0:
        return 0.0
    return max(_distance(packed, differently_packed), _distance(packed, at_the_front)) / normal


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().mean())


def _unfit(source: str, why: str) -> TrainerError:
    return TrainerError(
        Reason.USER_ERROR,
        f"training.packing: the architecture of model.source {source} does not keep the documents of a sequence apart "
        f"({why}); write packing: false",
    )
