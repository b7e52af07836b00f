"""When ranks that live are taken for hanging."""

from __future__ import annotations

import pytest

from qlora_api.report import Progress
from qlora_trainer.supervisor.gang.stall import StallClock


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(
    step: int, resumed: int = 0, step_seconds: float | None = 1.0, state: str = "Training", portions: int = 0
) -> Progress:
    fields = {"state": state, "resumed_step": resumed, "step_seconds": step_seconds, "from_step": 0}
    fields["evaluated_portions"] = portions
    return Progress.model_validate({"uid": "u", "attempt": 1, "step": step, "of": 9, "updated": 0.0, **fields})


@pytest.mark.parametrize(
    ("step_seconds", "patience"), [(1.0, 30.0), (4.5, 45.0)], ids=["short steps: the floor", "long steps: ten of them"]
)
def test_ten_steps_time_without_a_step_is_a_stall(step_seconds: float, patience: float) -> None:
    clock = Clock()
    stall = StallClock(clock)
    told = progress(3, step_seconds=step_seconds)
    assert stall.stalled(told) is None
    clock.now = patience
    assert stall.stalled(told) is None
    clock.now = patience + 1
    assert f"no step for {patience + 1:.0f} s after step 3" in str(stall.stalled(told))
    assert stall.stalled(progress(4, step_seconds=step_seconds)) is None


@pytest.mark.parametrize(
    "told",
    [progress(0), progress(3, resumed=3), progress(9), progress(3, step_seconds=None), progress(3, state="Restarting")],
    ids=[
        "before the first step",
        "before the first after a restart",
        "after the last",
        "unmeasured",
        "restarting",
    ],
)
def test_only_ranks_between_two_steps_are_judged(told: Progress) -> None:
    clock = Clock()
    stall = StallClock(clock)
    assert stall.stalled(told) is None
    clock.now = 1e6
    assert stall.stalled(told) is None


def test_an_evaluation_that_goes_on_is_no_stall_and_one_that_hangs_is() -> None:
    clock = Clock()
    stall = StallClock(clock)
    for portions in range(9):
        assert stall.stalled(progress(3, portions=portions)) is None
        clock.now += 25
    assert stall.stalled(progress(3, portions=8)) is None
    clock.now += 6
    assert "no step for 31 s after step 3" in str(stall.stalled(progress(3, portions=8)))
