"""Two ways to fit documents into sequences. Both return the sequence of each document, counted from 0."""

from __future__ import annotations

import numpy as np

CANDIDATES = 64
"""Documents among which exact filling chooses."""


def first_fit_decreasing(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The longest documents first, each into the first sequence with room for it."""
    room = np.full(len(lengths), capacity)
    sequence = np.empty(len(lengths), np.int64)
    used = 0
    for document in np.argsort(-lengths, kind="stable"):
        fits = room[: used + 1] >= lengths[document]
        chosen = int(np.argmax(fits))
        room[chosen] -= lengths[document]
        sequence[document] = chosen
        used = max(used, chosen + 1)
    return sequence


def fill_exactly(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """One sequence after another: the longest of the next documents, and those that fill the rest of it best."""
    sequence = np.empty(len(lengths), np.int64)
    candidates: list[int] = []
    taken = number = 0
    while taken < len(lengths) or candidates:
        added = min(CANDIDATES - len(candidates), len(lengths) - taken)
        candidates = sorted([*candidates, *range(taken, taken + added)], key=lambda document: -lengths[document])
        taken += added
        longest, *others = candidates
        chosen = best_subset([int(lengths[document]) for document in others], capacity - int(lengths[longest]))
        sequence[[longest, *(others[place] for place in chosen)]] = number
        candidates = [document for place, document in enumerate(others) if place not in chosen]
        number += 1
    return sequence


def best_subset(lengths: list[int], room: int) -> set[int]:
    """Places of those lengths whose sum comes closest to `room` from below; rather of few long ones, which stand first.

    Bit n of `reachable[i]` says whether some of the first i lengths add up to n.
    """
    within = (1 << (room + 1)) - 1
    reachable = [1]
    for length in lengths:
        reachable.append(reachable[-1] | (reachable[-1] << length & within))
    rest = reachable[-1].bit_length() - 1
    chosen: set[int] = set()
    for place in reversed(range(len(lengths))):
        if not reachable[place] >> rest & 1:
            chosen.add(place)
            rest -= lengths[place]
    return chosen
