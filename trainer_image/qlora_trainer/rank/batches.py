"""Which sequences a rank trains on: a function of seed and step, so there is no data position to save.

The dataset is read again and again in a new order each pass, and cut into global batches. A batch may reach over the
end of a pass; the last one is filled from the pass after. The global batch of a step is the same for every
world size; ranks only share it out differently.
"""

from __future__ import annotations

import math

import numpy as np

from qlora_api.spec import TrainingSpec


def total_steps(sequences: int, training: TrainingSpec) -> int:
    """Optimizer steps until every sequence was seen `epochs` times, or `maxSteps`."""
    steps = math.ceil(sequences * training.epochs / training.global_batch_size)
    return min(steps, training.max_steps or steps)


def global_batch(step: int, sequences: int, training: TrainingSpec) -> list[int]:
    """The `globalBatchSize` sequence numbers of a step, counted from 0."""
    size = training.global_batch_size
    first = step * size
    passes = range(first // sequences, (first + size - 1) // sequences + 1)
    order = np.concatenate([_order(sequences, training.seed, number) for number in passes])
    begin = first - passes.start * sequences
    return [int(number) for number in order[begin : begin + size]]


def micro_batches(batch: list[int], rank: int, world_size: int, micro_batch_size: int) -> list[list[int]]:
    """The share of one rank, in portions of `micro_batch_size`."""
    share = len(batch) // world_size
    assert share * world_size == len(batch), "the global batch is a multiple of the world size"
    assert share % micro_batch_size == 0, "a rank's share is a multiple of the micro-batch"
    mine = batch[rank * share : (rank + 1) * share]
    return [mine[i : i + micro_batch_size] for i in range(0, share, micro_batch_size)]


def _order(sequences: int, seed: int, number: int) -> np.ndarray:
    """The order of the sequences in one pass over the dataset."""
    return np.random.Generator(np.random.PCG64([seed, number])).permutation(sequences)
