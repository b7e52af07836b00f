"""Which documents share a sequence."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_trainer.rank.fitting import best_subset, fill_exactly, first_fit_decreasing
from qlora_trainer.rank.packing import Packing, one_a_sequence, pack

CAPACITY = 64
LENGTHS = st.lists(st.integers(1, CAPACITY), max_size=60).map(lambda numbers: np.array(numbers, np.int64))
Fit = Callable[[np.ndarray, int], np.ndarray]


def rows(packing: Packing) -> list[list[int]]:
    return [part.tolist() for part in np.split(packing.members, packing.begins[1:-1])] if len(packing.members) else []


@given(lengths=LENGTHS, seed=st.integers(0, 2**32 - 1), window=st.integers(1, 70))
def test_each_document_lies_in_one_sequence_and_none_is_too_long(lengths: np.ndarray, seed: int, window: int) -> None:
    packing = pack(lengths, CAPACITY, seed, window)
    sequences = rows(packing)
    assert sorted(number for sequence in sequences for number in sequence) == list(range(len(lengths)))
    assert all(0 < sum(lengths[sequence]) <= CAPACITY for sequence in sequences)
    assert len(packing.begins) == len(sequences) + 1


@given(lengths=LENGTHS, seed=st.integers(0, 9))
def test_the_same_seed_packs_alike(lengths: np.ndarray, seed: int) -> None:
    one, other = (rows(pack(lengths, CAPACITY, seed)) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("fit", [first_fit_decreasing, fill_exactly])
@given(lengths=LENGTHS)
def test_no_two_sequences_would_fit_into_one(fit: Fit, lengths: np.ndarray) -> None:
    sizes = sorted(np.bincount(fit(lengths, CAPACITY), lengths).tolist()) if len(lengths) else []
    assert all(one + other > CAPACITY for one, other in itertools.pairwise(sizes))


@given(lengths=st.lists(st.integers(1, 30), max_size=10), room=st.integers(0, 100))
def test_the_best_subset_is_the_fullest_of_all(lengths: list[int], room: int) -> None:
    sums = (sum(part) for size in range(len(lengths) + 1) for part in itertools.combinations(lengths, size))
    assert sum(lengths[place] for place in best_subset(lengths, room)) == max(total for total in sums if total <= room)


INSTRUCTIONS = {  # lengths in tokens; alike ones are the hardest to fill with
    "mostly short, some cut": lambda random: random.lognormal(np.log(150), 0.9, 20_000),
    "alike": lambda random: random.normal(125, 28, 8_000),
    "alike, longer": lambda random: random.normal(180, 45, 2_000),
}


@pytest.mark.parametrize("kind", INSTRUCTIONS)
@pytest.mark.parametrize("capacity", [1024, 2048])
def test_instructions_fill_their_sequences(kind: str, capacity: int) -> None:
    lengths = INSTRUCTIONS[kind](np.random.default_rng(7)).astype(np.int64).clip(8, capacity)
    packing = pack(lengths, capacity, seed=42)
    fill = lengths.sum() / (capacity * (len(packing.begins) - 1))
    print(f"{kind}, {capacity}: fill {fill:.4f}")
    assert fill > 0.98


def test_long_documents_are_filled_up_with_short_ones() -> None:
    lengths = np.random.default_rng(7).lognormal(np.log(1200), 0.9, 10_000).astype(np.int64).clip(8, 2048)
    assert lengths.sum() / (2048 * (len(pack(lengths, 2048, seed=42).begins) - 1)) > 0.98


def test_the_seed_decides_which_documents_meet() -> None:
    lengths = np.full(100, 16)
    assert rows(pack(lengths, CAPACITY, 1)) != rows(pack(lengths, CAPACITY, 2))


def test_figures_of_documents_are_summed_up_by_sequence() -> None:
    packing = Packing(np.array([2, 0, 1]), np.array([0, 2, 3]))
    assert packing.sums(np.array([1, 10, 100])).tolist() == [101, 10]
    assert one_a_sequence(3).sums(np.array([1, 10, 100])).tolist() == [1, 10, 100]
