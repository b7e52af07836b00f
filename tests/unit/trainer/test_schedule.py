"""The learning rate."""

from __future__ import annotations

from typing import Literal

import pytest

from qlora_api.spec import TrainingSpec
from qlora_trainer.rank.schedule import learning_rate


def rates(schedule: Literal["cosine", "linear", "constant"], of: int, warmup: float) -> list[float]:
    training = TrainingSpec(schedule=schedule, warmup_ratio=warmup, learning_rate=1.0)
    return [learning_rate(step, of, training) for step in range(of)]


def test_linear_rises_to_the_full_rate_and_falls_to_zero_after_the_last_step() -> None:
    assert rates("linear", 6, 0.3) == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])


def test_cosine_is_at_half_in_the_middle() -> None:
    assert rates("cosine", 4, 0) == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])


def test_constant_stays() -> None:
    assert rates("constant", 3, 0) == [1.0, 1.0, 1.0]


def test_no_step_is_wasted_at_rate_zero() -> None:
    assert all(rate > 0 for schedule in ("cosine", "linear") for rate in rates(schedule, 1, 0.5))  # type: ignore[arg-type]
