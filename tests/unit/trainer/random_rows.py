"""A dataset that needs no file."""

from __future__ import annotations

import torch

from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.order import Mix


def random_rows() -> Dataset:
    """Four rows of random tokens."""
    lengths = torch.tensor([12, 9, 14, 11])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    ids = torch.randint(0, 250, (int(offsets[-1]),), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    learned = torch.ones(len(ids), dtype=torch.bool)
    return Dataset(
        ids, learned, offsets, members=torch.arange(4), begins=torch.arange(5), targets=lengths - 1, lengths=lengths,
        mix=Mix((4,), (1.0,)), is_packed=False, sha256="",
    )  # fmt: skip
