"""The order of the data."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_api.spec import TrainingSpec
from qlora_trainer.rank.batches import global_batch, micro_batches, total_steps
from qlora_trainer.rank.order import Mix, order_of_pass


def alone(size: int) -> Mix:
    return Mix((size,), (1.0,))


MIXES = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from([0.01, 0.3, 0.5, 1.0, 1.7, 3.0])), min_size=1, max_size=4
).map(lambda parts: Mix(tuple(size for size, _ in parts), tuple(weight for _, weight in parts)))


@given(
    mix=MIXES,
    world_size=st.integers(1, 4),
    micro=st.integers(1, 3),
    accumulation=st.integers(1, 3),
    step=st.integers(0, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_ranks_share_out_one_global_batch(
    mix: Mix, world_size: int, micro: int, accumulation: int, step: int, seed: int
) -> None:
    training = TrainingSpec(global_batch_size=world_size * micro * accumulation, seed=seed)
    batch = global_batch(step, mix, training)
    assert len(batch) == training.global_batch_size
    assert all(0 <= number < sum(mix.sizes) for number in batch)
    shares = [micro_batches(batch, rank, world_size, micro) for rank in range(world_size)]
    assert {len(portion) for share in shares for portion in share} == {micro}
    assert {len(share) for share in shares} == {accumulation}
    assert [row for share in shares for portion in share for row in portion] == batch


@given(mix=MIXES, size=st.integers(1, 20), seed=st.integers(0, 9), steps=st.integers(1, 12))
def test_a_step_is_found_without_those_before_it(mix: Mix, size: int, seed: int, steps: int) -> None:
    training = TrainingSpec(global_batch_size=size, seed=seed)
    one_by_one = [number for step in range(steps) for number in global_batch(step, mix, training)]
    in_passes = (int(number) for p in itertools.count() for number in order_of_pass(mix, seed, p))
    assert one_by_one == list(itertools.islice(in_passes, steps * size))


@given(rows=st.integers(1, 40), size=st.integers(1, 50), epochs=st.integers(1, 4), seed=st.integers(0, 9))
def test_each_pass_sees_every_sequence_once(rows: int, size: int, epochs: int, seed: int) -> None:
    training = TrainingSpec(epochs=epochs, global_batch_size=size, seed=seed)
    steps = total_steps(alone(rows), training)
    seen = [row for step in range(steps) for row in global_batch(step, alone(rows), training)]
    assert 0 <= len(seen) - rows * epochs < size
    for number in range(epochs):
        assert Counter(seen[number * rows : (number + 1) * rows]) == Counter(range(rows))


@given(mix=MIXES, seed=st.integers(0, 9))
def test_a_part_is_seen_as_often_as_its_weight_says(mix: Mix, seed: int) -> None:
    passes = 10
    seen = Counter(int(number) for p in range(passes) for number in order_of_pass(mix, seed, p))
    offset = 0
    for size, weight in zip(mix.sizes, mix.weights, strict=True):
        counts = [seen[offset + number] for number in range(size)]
        assert abs(sum(counts) - passes * weight * size) < 1, "as often as it should"
        assert max(counts) - min(counts) <= 1, "none of it more often than another"
        offset += size


def test_half_of_a_part_comes_in_one_pass_and_the_other_half_in_the_next() -> None:
    mix = Mix((6, 10), (1.0, 0.5))
    first, second = (set(order_of_pass(mix, 1, number).tolist()) for number in (0, 1))
    assert first & second == set(range(6))
    assert len(first) == len(second) == 11
    assert first | second == set(range(16))


def test_the_parts_are_shuffled_among_each_other() -> None:
    order = order_of_pass(Mix((500, 500), (1.0, 1.0)), 0, 0)
    assert 150 < sum(number < 500 for number in order[:500]) < 350


def test_the_passes_differ_and_the_seed_decides() -> None:
    training = TrainingSpec(global_batch_size=50)
    first, second = global_batch(0, alone(50), training), global_batch(1, alone(50), training)
    assert first != second
    assert first == global_batch(0, alone(50), training)
    assert first != global_batch(0, alone(50), TrainingSpec(global_batch_size=50, seed=1))


@pytest.mark.parametrize(("max_steps", "steps"), [(None, 7), (3, 3), (100, 7)])
def test_max_steps_can_only_shorten(max_steps: int | None, steps: int) -> None:
    assert total_steps(alone(9), TrainingSpec(epochs=3, global_batch_size=4, max_steps=max_steps)) == steps


def test_a_tiny_share_of_a_tiny_dataset_is_still_one_step() -> None:
    mix = Mix((1,), (0.01,))
    training = TrainingSpec(epochs=1, global_batch_size=2)
    assert total_steps(mix, training) == 1
    assert global_batch(0, mix, training) == [0, 0]
