"""Which rows a rank trains on: a function of seed and step, so there is no data position to save.

The dataset is read again and again in a new order each pass, and cut into global batches. A batch may reach over the
end of a pass; the last one is filled from the pass after. The global batch of a step is the same for every
world size; ranks only share it out differently.
"""

from __future__ import annotations

import math

import numpy as np

from qlora_api.spec import TrainingSpec


def total_steps(rows: int, training: TrainingSpec) -> int:
    """Optimizer steps until every row was seen `epochs` times, or `maxSteps`."""
    steps = math.ceil(rows * training.epochs / training.global_batch_size)
    return min(steps, training.max_steps or steps)


def global_batch(step: int, rows: int, training: TrainingSpec) -> list[int]:
    """The `globalBatchSize` row numbers of a step, counted from 0."""
    size = training.global_batch_size
    first = step * size
    passes = range(first // rows, (first + size - 1) // rows + 1)
    order = np.concatenate([_order(rows, training.seed, number) for number in passes])
    begin = first - passes.start * rows
    return [int(row) for row in order[begin : begin + size]]


def micro_batches(batch: list[int], rank: int, world_size: int, micro_batch_size: int) -> list[list[int]]:
    """The share of one rank, in portions of `micro_batch_size`."""
    share = len(batch) // world_size
    assert share * world_size == len(batch), "the global batch is a multiple of the world size"
    assert share % micro_batch_size == 0, "a rank's share is a multiple of the micro-batch"
    mine = batch[rank * share : (rank + 1) * share]
    return [mine[i : i + micro_batch_size] for i in range(0, share, micro_batch_size)]


def _order(rows: int, seed: int, number: int) -> np.ndarray:
    """The order of the rows in one pass over the dataset."""
    return np.random.Generator(np.random.PCG64([seed, number])).permutation(rows)
