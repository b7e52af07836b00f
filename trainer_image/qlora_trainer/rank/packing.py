"""Which documents share a sequence, decided within windows of a shuffled dataset.

Decided once, so a sequence is for the order of the data what a row is without packing. Which documents meet is left to
chance by the shuffle; a window bounds the work, and is large enough that only its last sequence stays partly empty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qlora_trainer.rank.fitting import fill_exactly, first_fit_decreasing

WINDOW = 8192
"""Documents that are packed together."""


class Packing(NamedTuple):
    """Sequences as lists of documents, one after another."""

    members: np.ndarray
    """Document numbers: int64 of shape (documents,)."""
    begins: np.ndarray
    """Where a sequence begins in `members`: int64 of shape (sequences + 1,)."""

    def sums(self, values: np.ndarray) -> np.ndarray:
        """A figure of each document, summed up for each sequence: shape (documents,) to (sequences,)."""
        return np.add.reduceat(values[self.members], self.begins[:-1])


def one_a_sequence(documents: int) -> Packing:
    """Each document by itself."""
    return Packing(np.arange(documents), np.arange(documents + 1))


def pack(lengths: np.ndarray, capacity: int, seed: int, window: int = WINDOW) -> Packing:
    """Documents together in few sequences of at most `capacity` tokens.

    Args:
        lengths: tokens of each document, each from 1 to `capacity`: integers of shape (documents,).
        capacity: tokens of a sequence.
        seed: decides which documents meet.
        window: documents that are packed together.
    """
    order = np.random.Generator(np.random.PCG64([seed, len(lengths)])).permutation(len(lengths))
    members: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    for begin in range(0, len(order), window):
        chosen = order[begin : begin + window]
        sequence = fewest(lengths[chosen], capacity)
        members.append(chosen[np.argsort(sequence, kind="stable")])
        sizes.append(np.bincount(sequence))
    begins = np.cumsum(np.concatenate([[0], *sizes]), dtype=np.int64)
    return Packing(np.concatenate([np.empty(0, np.int64), *members]), begins)


def fewest(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The sequence of each document, by that way of fitting which needs fewer sequences.

    With few documents in a sequence it is mostly first fit, with many of about one length exact filling.
    """
    return min(
        (first_fit_decreasing(lengths, capacity), fill_exactly(lengths, capacity)), key=lambda sequence: sequence.max()
    )
