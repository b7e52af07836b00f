"""The loss of a micro-batch, as a sum, so that the mean can be taken over the whole global batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from qlora_trainer.rank.data import Dataset

IGNORED = -100


class MicroBatch(NamedTuple):
    """Rows padded at the end to one length; all three are int64 of shape (rows, length)."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    """The token to predict at each position, IGNORED where nothing is learned."""


def collate(dataset: Dataset, rows: list[int], device: torch.device) -> MicroBatch:
    """A micro-batch of some rows. The labels are shifted: position i holds token i + 1."""
    ids, labels, mask = [], [], []
    for number in rows:
        row, learned = dataset.row(number)
        target = torch.full(row.shape, IGNORED, dtype=torch.int64)
        target[:-1] = torch.where(learned[1:], row[1:].long(), IGNORED)
        ids.append(row.long())
        labels.append(target)
        mask.append(torch.ones(len(row), dtype=torch.int64))
    return MicroBatch(
        pad_sequence(ids, batch_first=True).to(device),
        pad_sequence(mask, batch_first=True).to(device),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED).to(device),
    )


def loss_sum(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Sum of the negative log-likelihoods of the learned tokens: a float32 scalar.

    The output layer is applied only where some row of the micro-batch learns: with a large vocabulary it is
    a good part of the work, and its float32 logits are most of the memory.
    """
    positions = (batch.labels != IGNORED).any(dim=0).nonzero().squeeze(1)
    output = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask if len(batch.input_ids) > 1 else None,
        logits_to_keep=positions,
        use_cache=False,
    )
    labels = batch.labels[:, positions]
    return cross_entropy(output.logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
