"""What the evaluations so far have shown: a part of each checkpoint, so that a resumed job judges as if it had not
stopped."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Standing:
    """After at least one evaluation. Losses are the mean a token, in nats."""

    step: int
    """Step of the newest evaluation."""
    loss: float
    best_step: int
    """Step with the lowest loss; the earliest of several."""
    best_loss: float
    mark: float
    """The loss that a later one must fall below to count as progress."""
    waited: int
    """Evaluations since the loss last fell by enough."""

    @property
    def is_best(self) -> bool:
        """Whether no evaluation before the newest had so low a loss."""
        return self.step == self.best_step

    def to_json(self) -> dict[str, Any]:
        """As it stands in a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """What `to_json` has made."""
        return cls(**value)


def standing_after(before: Standing | None, step: int, loss: float, min_delta: float = 0.0) -> Standing:
    """The standing after another evaluation.

    The best step is simply the one with the lowest loss. Progress needs more: many falls of less than `min_delta` each
    count once they add up to it.
    """
    if before is None:
        return Standing(step, loss, step, loss, mark=loss, waited=0)
    best_step, best_loss = min((before.best_loss, before.best_step), (loss, step))[::-1]
    has_fallen = loss < before.mark and loss <= before.mark - min_delta
    mark, waited = (loss, 0) if has_fallen else (before.mark, before.waited + 1)
    return Standing(step, loss, best_step, best_loss, mark, waited)


def perplexity(loss: float) -> float:
    """e to the power of a mean loss in nats; of a loss beyond all use, infinity is cut to the largest float."""
    return math.exp(min(loss, 700.0))
