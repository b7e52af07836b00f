"""A micro-batch as what attention sees: documents one after another, without padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from qlora_trainer.rank.likelihood import IGNORED
from qlora_trainer.rank.loss import MicroBatch
from qlora_trainer.rank.transfer import moved


class Documents(NamedTuple):
    """The tokens of a micro-batch in one row."""

    ids: Tensor
    """int64 of shape (tokens,)."""
    labels: Tensor
    """The token to predict at each, IGNORED where nothing is learned; int64 of shape (tokens,)."""
    learned: Tensor
    """The tokens that have a label: int64 of shape (learned tokens,)."""
    positions: Tensor
    """From 0 in each document; int64 of shape (tokens,)."""
    boundaries: Tensor
    """Where documents begin, and the end of the last one: int32 of shape (documents + 1,)."""
    longest: int
    """Tokens of the longest document."""

    def to(self, device: torch.device) -> Documents:
        """The same on a device."""
        ids, labels, learned, positions, boundaries = (moved(tensor, device) for tensor in self[:-1])
        return Documents(ids, labels, learned, positions, boundaries, self.longest)


def documents_of(batch: MicroBatch) -> Documents:
    """The documents of a micro-batch. Padding of packed sequences stays, as a document of its own."""
    length = batch.input_ids.shape[1]
    ids, labels = batch.input_ids.flatten(), batch.labels.flatten()
    if batch.position_ids is not None:
        positions = batch.position_ids.flatten()
    else:
        row = torch.arange(length, device=ids.device)
        positions = row.repeat(len(batch.input_ids))
    if batch.attention_mask is not None:
        kept = batch.attention_mask.flatten().nonzero().squeeze(1)
        ids, labels, positions = ids[kept], labels[kept], positions[kept]
    begins = (positions == 0).nonzero().squeeze(1)
    boundaries = torch.cat([begins, begins.new_tensor([len(ids)])]).to(torch.int32)
    learned = (labels != IGNORED).nonzero().squeeze(1)
    return Documents(ids, labels, learned, positions, boundaries, int(positions.max()) + 1)
