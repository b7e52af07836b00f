"""The loss of a micro-batch, as a sum, so that the mean can be taken over the whole global batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from qlora_trainer.rank.data import Dataset, Document
from qlora_trainer.rank.likelihood import IGNORED, negative_log_likelihood
from qlora_trainer.rank.transfer import moved


class MicroBatch(NamedTuple):
    """Sequences padded at the end to one length; what is not None is int64 of shape (sequences, length).

    It stays on the host until its loss is computed: what has to be counted in it is counted there, where nobody has to
    wait for the GPU.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    """The token to predict at each position, IGNORED where nothing is learned."""
    attention_mask: torch.Tensor | None
    """0 at padding. None if there is none, or if the sequences are packed."""
    position_ids: torch.Tensor | None
    """Positions within each document, from which the model sees where documents end; None if not packed."""
    images: dict[str, torch.Tensor] | None = None
    """What a model that sees reads beside these; None for any other."""


def collate(dataset: Dataset, sequences: list[int]) -> MicroBatch:
    """A micro-batch of some sequences. The labels are shifted: position i holds token i + 1."""
    rows = [dataset.sequence(number) for number in sequences]
    ids = [torch.cat([document.ids for document in row]).long() for row in rows]
    learned = [torch.cat([document.learned for document in row]) for row in rows]
    longest = max(map(len, ids))

    def padded(values: list[torch.Tensor], padding: int = 0) -> torch.Tensor:
        return pad_sequence(values, batch_first=True, padding_value=padding)

    mask = positions = None
    if dataset.is_packed:
        positions = padded([_positions(row, longest) for row in rows])
    elif len(rows) > 1:
        mask = padded([torch.ones(len(row), dtype=torch.int64) for row in ids])
    labels = padded([_labels(*row) for row in zip(ids, learned, strict=True)], IGNORED)
    images = None
    if dataset.images is not None:
        documents = [document for number in sequences for document in dataset.documents(number)]
        images = dataset.images.inputs(documents, padded(ids))
    return MicroBatch(padded(ids), labels, mask, positions, images)


def _labels(ids: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    """What is to be predicted: at the end of a document nothing, as the first token of the next is not learned."""
    labels = torch.full(ids.shape, IGNORED, dtype=torch.int64)
    labels[:-1] = torch.where(learned[1:], ids[1:], IGNORED)
    return labels


def _positions(documents: list[Document], length: int) -> torch.Tensor:
    """Positions from 0 in each document; the padding up to `length` is a document of its own."""
    lengths = [len(document.ids) for document in documents]
    return torch.cat([torch.arange(each) for each in (*lengths, length - sum(lengths))])


def loss_sum(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Sum of the negative log-likelihoods of the learned tokens: a float32 scalar.

    The output layer is applied only where some sequence of the micro-batch learns: with a large vocabulary it is
    a good part of the work, and its logits are much of the memory.
    """
    kept = (batch.labels != IGNORED).any(dim=0).nonzero().squeeze(1)
    given: dict[str, torch.Tensor | None] = {
        "input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "logits_to_keep": kept,
        **({} if batch.position_ids is None else {"position_ids": batch.position_ids}),
        **(batch.images or {}),
    }  # fmt: skip
    device = model.device
    output = model(
        use_cache=False, **{name: value if value is None else moved(value, device) for name, value in given.items()}
    )
    loss = negative_log_likelihood(output.logits, moved(batch.labels[:, kept], device))
    if batch.images is not None and torch.is_grad_enabled():
        loss = loss + _touch_all(model)
    return loss


def _touch_all(model: Any) -> torch.Tensor:
    """Zero, as a function of everything that is trained. Without an image the vision encoder is not run, and ranks that
    have gradients for different parameters would wait for each other for ever."""
    return torch.stack([parameter.sum() * 0.0 for parameter in model.parameters() if parameter.requires_grad]).sum()
