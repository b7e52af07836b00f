"""What follows from a row of evaluation losses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_trainer.rank.standing import Standing, standing_after


def after(*losses: float, min_delta: float = 0.0) -> Standing:
    standing = None
    for step, loss in enumerate(losses, start=1):
        standing = standing_after(standing, step, loss, min_delta)
    assert standing is not None
    return standing


def test_the_first_evaluation_is_the_best_so_far() -> None:
    assert after(2.0) == Standing(step=1, loss=2.0, best_step=1, best_loss=2.0, mark=2.0, waited=0)


def test_a_loss_that_does_not_fall_is_waited_for() -> None:
    standing = after(2.0, 1.0, 1.5, 1.2)
    assert (standing.best_step, standing.best_loss, standing.waited, standing.is_best) == (2, 1.0, 2, False)
    assert after(2.0, 1.0, 1.5, 0.9).waited == 0


def test_of_equal_losses_the_earlier_step_is_the_best_and_the_later_one_is_no_progress() -> None:
    standing = after(1.0, 1.0)
    assert (standing.best_step, standing.waited) == (1, 1)


def test_a_small_fall_is_the_best_step_and_yet_no_progress() -> None:
    standing = after(2.0, 1.95, 1.92, min_delta=0.1)
    assert (standing.best_step, standing.waited, standing.mark) == (3, 2, 2.0)


def test_small_falls_count_once_they_add_up() -> None:
    standing = after(2.0, 1.95, 1.9, min_delta=0.1)
    assert (standing.waited, standing.mark) == (0, 1.9)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1), st.integers(0, 100))
def test_a_resumed_job_judges_as_if_it_had_not_stopped(losses: list[float], min_delta: float, cut: int) -> None:
    standing = None
    for step, loss in enumerate(losses, start=1):
        standing = standing_after(standing, step, loss, min_delta)
        if step == cut:
            standing = Standing.from_json(standing.to_json())
    assert standing == after(*losses, min_delta=min_delta)
    assert standing is not None
    assert standing.best_loss == min(losses)


@pytest.mark.parametrize("min_delta", [0.0, 0.5])
def test_a_loss_that_keeps_falling_is_never_waited_for(min_delta: float) -> None:
    assert after(*(10.0 - number for number in range(9)), min_delta=min_delta).waited == 0
