"""The learning rate of a step: linear warm-up, then cosine, linear or constant.

A pure function of the step, so there is no scheduler state to save.
"""

from __future__ import annotations

import math

from qlora_api.spec import TrainingSpec


def learning_rate(step: int, of: int, training: TrainingSpec) -> float:
    """Learning rate of optimizer step `step`, counted from 0, in a run of `of` steps.

    The warm-up takes ceil(warmupRatio x of) steps and ends at the full rate; the decay would reach zero at step `of`.
    """
    warmup = math.ceil(training.warmup_ratio * of)
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, of - warmup)
    match training.schedule:
        case "cosine":
            return training.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        case "linear":
            return training.learning_rate * (1 - progress)
        case _:
            return training.learning_rate
