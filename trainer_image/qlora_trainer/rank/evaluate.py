"""The mean loss on rows that are not learned, shared out over all ranks.

The loss of a token is what it would be in training without dropout: the same masking, and documents that share a
sequence do not see each other. Only how the sequences are shared out differs, and that changes no sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from deepspeed import comm

from qlora_trainer.fused.router import LossOfModel
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.loss import collate, loss_sum


class Portion(NamedTuple):
    """What a rank computes while every other rank computes its own."""

    sequences: list[int]
    counts: bool
    """False for what only keeps step with the other ranks: with ZeRO-3 each pass through a layer is collective."""


def portions(lengths: torch.Tensor, rank: int, world_size: int, micro_batch_size: int) -> Iterator[Portion]:
    """A rank's share, of as many portions on every rank.

    The longest sequences come first: those of a portion are of about one length, so there is little padding, and what
    does not fit into memory shows at once.
    """
    order = torch.argsort(lengths, descending=True, stable=True).tolist()
    for begin in range(0, len(order), world_size * micro_batch_size):
        first = begin + rank * micro_batch_size
        mine = order[first : first + micro_batch_size]
        yield Portion(mine, True) if mine else Portion(order[-1:], False)


@contextmanager
def evaluating(engine: Any) -> Iterator[None]:
    """Without dropout and gradients; afterwards the engine trains again."""
    engine.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        engine.train()


def mean_loss(
    engine: Any, held_out: Dataset, micro_batch_size: int, goes_on: Callable[[], bool],
    loss_of: LossOfModel | None = None,
) -> float | None:  # fmt: skip
    """Mean negative log-likelihood of the learned tokens of all sequences, in nats. Collective.

    Args:
        engine: around the model.
        held_out: the sequences.
        micro_batch_size: sequences that a rank holds at once.
        goes_on: called after each portion; must answer the same on every rank.
        loss_of: how the loss of a micro-batch is computed; None: as PEFT and transformers do.

    Returns:
        The mean, the same on every rank; None if it was told not to go on.
    """
    total = torch.zeros((), dtype=torch.float64)
    with evaluating(engine):
        for portion in portions(held_out.lengths, comm.get_rank(), comm.get_world_size(), micro_batch_size):
            loss = (loss_of or loss_sum)(engine, collate(held_out, portion.sequences))
            if portion.counts:
                total += loss.double().cpu()
            if not goes_on():
                return None
    total = total.to(engine.device)
    comm.all_reduce(total)
    return float(total) / int(held_out.targets.sum())
