"""The order of the data."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_api.spec import TrainingSpec
from qlora_trainer.rank.batches import global_batch, micro_batches, total_steps


@given(
    rows=st.integers(1, 60),
    world_size=st.integers(1, 4),
    micro=st.integers(1, 3),
    accumulation=st.integers(1, 3),
    step=st.integers(0, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_ranks_share_out_one_global_batch(
    rows: int, world_size: int, micro: int, accumulation: int, step: int, seed: int
) -> None:
    training = TrainingSpec(global_batch_size=world_size * micro * accumulation, seed=seed)
    batch = global_batch(step, rows, training)
    shares = [micro_batches(batch, rank, world_size, micro) for rank in range(world_size)]
    assert {len(portion) for share in shares for portion in share} == {micro}
    assert {len(share) for share in shares} == {accumulation}
    assert [row for share in shares for portion in share for row in portion] == batch


@given(rows=st.integers(1, 40), size=st.integers(1, 50), epochs=st.integers(1, 4), seed=st.integers(0, 9))
def test_each_pass_sees_every_row_once(rows: int, size: int, epochs: int, seed: int) -> None:
    training = TrainingSpec(epochs=epochs, global_batch_size=size, seed=seed)
    steps = total_steps(rows, training)
    seen = [row for step in range(steps) for row in global_batch(step, rows, training)]
    assert 0 <= len(seen) - rows * epochs < size
    for number in range(epochs):
        assert Counter(seen[number * rows : (number + 1) * rows]) == Counter(range(rows))


def test_the_passes_differ_and_the_seed_decides() -> None:
    training = TrainingSpec(global_batch_size=50)
    first, second = global_batch(0, 50, training), global_batch(1, 50, training)
    assert first != second
    assert first == global_batch(0, 50, training)
    assert first != global_batch(0, 50, TrainingSpec(global_batch_size=50, seed=1))


@pytest.mark.parametrize(("max_steps", "steps"), [(None, 7), (3, 3), (100, 7)])
def test_max_steps_can_only_shorten(max_steps: int | None, steps: int) -> None:
    assert total_steps(9, TrainingSpec(epochs=3, global_batch_size=4, max_steps=max_steps)) == steps
