"""In which order the sequences of a dataset are learned: a function of seed and pass.

A part of weight 2 comes twice in each pass. Of one of weight 0.5 a half comes, and in the pass after the other half: a
part is an endless stream of shuffles of itself, of which a pass draws the next piece.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Mix(NamedTuple):
    """Sequences, numbered through all parts, and how often those of each part are seen in a pass."""

    sizes: tuple[int, ...]
    """Sequences of each part, each at least 1."""
    weights: tuple[float, ...]

    def drawn(self, passes: int) -> list[int]:
        """Sequences that the first passes draw from each part."""
        return [math.floor(passes * weight * size) for size, weight in zip(self.sizes, self.weights, strict=True)]

    def until(self, passes: int) -> int:
        """Sequences of the first passes altogether."""
        return sum(self.drawn(passes))


@lru_cache(maxsize=4)
def order_of_pass(mix: Mix, seed: int, number: int) -> np.ndarray:
    """The sequences of one pass, counted from 0: int64 of shape (sequences of the pass,)."""
    drawn: list[np.ndarray] = []
    offset = 0
    for part, (size, begin, end) in enumerate(zip(mix.sizes, mix.drawn(number), mix.drawn(number + 1), strict=True)):
        drawn.append(offset + _stream(size, seed, part, begin, end))
        offset += size
    return _random(seed, number).permutation(np.concatenate(drawn))


def _stream(size: int, seed: int, part: int, begin: int, end: int) -> np.ndarray:
    """A piece of the endless stream of shuffles of a part."""
    shuffles = range(begin // size, -(-end // size))
    whole = [_random(seed, part, shuffle).permutation(size) for shuffle in shuffles]
    return np.concatenate([np.empty(0, np.int64), *whole])[begin - shuffles.start * size :][: end - begin]


def _random(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
