"""Which sequences a rank trains on: a function of seed and step, so there is no data position to save.

The dataset is read pass after pass, each in an order of its own, and cut into global batches. A batch may reach over
the end of a pass; the last one is filled from the pass after. The global batch of a step is the same for every
world size; ranks only share it out differently.
"""

from __future__ import annotations

import math

from qlora_api.spec import TrainingSpec
from qlora_trainer.rank.order import Mix, order_of_pass


def total_steps(mix: Mix, training: TrainingSpec) -> int:
    """Optimizer steps for `epochs` passes, or `maxSteps`."""
    steps = max(1, math.ceil(mix.until(training.epochs) / training.global_batch_size))
    return min(steps, training.max_steps or steps)


def global_batch(step: int, mix: Mix, training: TrainingSpec) -> list[int]:
    """The `globalBatchSize` sequence numbers of a step, counted from 0."""
    first = step * training.global_batch_size
    number = _pass_of(first, mix)
    skipped = first - mix.until(number)
    batch: list[int] = []
    while len(batch) < training.global_batch_size:
        order = order_of_pass(mix, training.seed, number)
        batch += order[skipped : skipped + training.global_batch_size - len(batch)].tolist()
        number, skipped = number + 1, 0
    return batch


def micro_batches(batch: list[int], rank: int, world_size: int, micro_batch_size: int) -> list[list[int]]:
    """The share of one rank, in portions of `micro_batch_size`."""
    share = len(batch) // world_size
    assert share * world_size == len(batch), "the global batch is a multiple of the world size"
    assert share % micro_batch_size == 0, "a rank's share is a multiple of the micro-batch"
    mine = batch[rank * share : (rank + 1) * share]
    return [mine[i : i + micro_batch_size] for i in range(0, share, micro_batch_size)]


def _pass_of(place: int, mix: Mix) -> int:
    """The pass that has the sequence at a place of the whole run."""
    a_pass = sum(size * weight for size, weight in zip(mix.sizes, mix.weights, strict=True))
    number = max(0, math.floor(place / a_pass) - 1)
    while mix.until(number + 1) <= place:
        number += 1
    return number
