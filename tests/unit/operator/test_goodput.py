"""Lost time, computed from the record of attempts. Times are seconds of one hour."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_api.status import QLoRAJobStatus
from qlora_operator.goodput import Spent, goodput, time_spent


def at(second: int | None) -> str | None:
    return None if second is None else f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"


def attempt(
    number: int,
    start: int,
    end: int | None = None,
    reason: str | None = None,
    first: int | None = None,
    last: int | None = None,
    **steps: int,
) -> dict[str, Any]:
    return {
        "number": number,
        "startTime": at(start),
        "completionTime": at(end),
        "reason": reason,
        "firstStepTime": at(first),
        "lastStepTime": at(last),
        **steps,
    }


def spent(*attempts: dict[str, Any], **status: Any) -> list[Spent]:
    return list(time_spent(QLoRAJobStatus.model_validate({"attempts": attempts, **status})).values())


def test_an_undisturbed_job_spends_its_time_on_start_and_steps() -> None:
    known = spent(attempt(1, 0, 130, "Succeeded", first=20, last=120, fromStep=0, toStep=11))
    assert known == [Spent("Succeeded", startup=20, trained=100)]
    assert goodput(known) == pytest.approx(100 / 120)


def test_a_failure_costs_the_time_to_the_next_step_and_that_of_the_lost_steps() -> None:
    known = spent(
        attempt(1, 0, 125, "NodeLost", first=20, last=120, fromStep=0, toStep=11, lostSteps=3),
        attempt(2, 130, 300, "Succeeded", first=150, last=290, fromStep=8, toStep=22),
    )
    assert known[0] == Spent("NodeLost", startup=20, trained=100, repeated=30, down=30)
    assert known[1] == Spent("Succeeded", trained=140)
    assert goodput(known) == pytest.approx((240 - 30) / (240 + 50))


def test_time_without_steps_belongs_to_the_failure_that_caused_it() -> None:
    known = spent(
        attempt(1, 0, 25, "ImagePull"),
        attempt(2, 30, 100, "TrainerFailed", first=50, last=90, fromStep=0, toStep=5),
        attempt(3, 110, 140, "Stalled"),
        attempt(4, 150, first=170, fromStep=5),
        progress={"step": 7, "of": 9, "position": "7/9", "lastStepTime": at(200)},
    )
    assert [(part.reason, part.startup, part.down) for part in known] == [
        ("ImagePull", 0, 50),
        ("TrainerFailed", 0, 20),
        ("Stalled", 0, 60),
        (None, 0, 0),
    ]
    assert sum(part.startup + part.down + part.trained for part in known) == 200, "no second twice, none forgotten"


def test_an_attempt_that_trains_is_counted_up_to_the_step_that_was_last_seen() -> None:
    progress = {"step": 4, "of": 9, "position": "4/9", "lastStepTime": at(50)}
    assert spent(attempt(1, 0, first=20, fromStep=0), progress=progress) == [Spent(startup=20, trained=30)]


def test_the_figures_of_the_last_attempt_are_not_taken_for_those_of_the_next() -> None:
    progress = {"step": 4, "of": 9, "position": "4/9", "lastStepTime": at(50)}
    known = spent(
        attempt(1, 0, 60, "Evicted", first=20, last=50, fromStep=0, toStep=4), attempt(2, 70), progress=progress
    )
    assert known[1] == Spent()
    assert known[0].down == 0, "not counted before it is over"


def restart(number: int, last: int | None, first: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"number": number, "reason": "Stalled", "lastStepTime": at(last), "firstStepTime": at(first), **fields}


def test_a_restart_in_place_cuts_an_attempt_in_two() -> None:
    in_place = [restart(1, 60, 75, toStep=5, fromStep=3, lostSteps=2)]
    known = spent(
        attempt(1, 0, 120, "NodeLost", 20, 115, fromStep=0, toStep=8, lostSteps=1) | {"restartsInPlace": in_place},
        attempt(2, 130, 200, "Succeeded", first=150, last=190, fromStep=7, toStep=12),
    )
    assert known == [
        Spent("Stalled", startup=20, trained=40, repeated=20, down=15),
        Spent("NodeLost", trained=40, repeated=10, down=35),
        Spent("Succeeded", trained=40),
    ]


def test_ranks_that_made_no_step_after_their_restart_are_charged_for_the_whole_gap() -> None:
    in_place = [restart(1, 60, toStep=5)]
    known = spent(
        attempt(1, 0, 90, "PodLost", 20, 80, fromStep=0, toStep=5) | {"restartsInPlace": in_place},
        attempt(2, 95, first=110, fromStep=3),
    )
    assert [(part.reason, part.trained, part.down) for part in known[:2]] == [("Stalled", 40, 0), ("PodLost", 0, 50)]


def test_a_restart_before_the_first_step_belongs_to_the_start() -> None:
    in_place = [restart(1, None, 40, fromStep=0)]
    (known,) = spent(attempt(1, 0, 90, "Succeeded", 40, 80, fromStep=0, toStep=5) | {"restartsInPlace": in_place})
    assert known == Spent("Succeeded", startup=40, trained=40)


def test_what_lies_before_the_oldest_restart_that_is_recorded_is_not_counted_again() -> None:
    in_place = [restart(7, 60, 75, toStep=5, fromStep=3), restart(8, 80, toStep=6)]
    record = attempt(1, 0, None, None, 20, fromStep=0) | {"restartsInPlace": in_place}
    assert [part.trained for part in spent(record)] == [5, 0]


def test_an_attempt_that_a_queue_has_interrupted_keeps_its_number_and_is_told_apart_by_its_start() -> None:
    known = spent(
        attempt(1, 0, 60, "Requeued", first=20, last=50, fromStep=0, toStep=4),
        attempt(1, 1000, 1100, "Succeeded", first=1040, last=1090, fromStep=4, toStep=9),
    )
    assert known == [
        Spent("Requeued", startup=20, trained=30, down=40),
        Spent("Succeeded", trained=50),
    ]


def test_a_pause_that_was_asked_for_is_not_lost_but_starting_again_is() -> None:
    known = spent(
        attempt(1, 0, 60, "Suspended", first=20, last=50, fromStep=0, toStep=4, lostSteps=0),
        attempt(2, 1000, first=1040, fromStep=4),
    )
    assert known[0].down == 40


def test_of_a_job_that_has_lost_its_oldest_records_no_start_is_counted() -> None:
    assert spent(attempt(7, 0, first=20, fromStep=0))[0].startup == 0


def test_clocks_that_differ_make_no_negative_time() -> None:
    known = spent(
        attempt(1, 100, 60, "NodeLost", first=80, last=70, fromStep=0, toStep=4, lostSteps=2),
        attempt(2, 50, first=40, fromStep=2),
    )
    assert known == [Spent("NodeLost"), Spent()]


def test_nothing_is_known_before_the_first_step() -> None:
    assert goodput(spent()) is None
    assert goodput(spent(attempt(1, 0))) is None


@given(st.lists(st.integers(0, 3599), min_size=16, max_size=16).map(sorted), st.lists(st.booleans(), min_size=4))
def test_no_second_is_counted_twice(times: list[int], steps: list[bool]) -> None:
    attempts = []
    for index, stepped in enumerate(steps[:4]):
        start, first, last, end = times[4 * index : 4 * index + 4]
        figures = {"first": first, "last": last, "fromStep": 0, "toStep": 9, "lostSteps": 4} if stepped else {}
        attempts.append(attempt(index + 1, start, end, "PodLost", **figures))
    known = spent(*attempts)
    parts = sum(part.startup + part.trained + part.down for part in known)
    assert parts <= times[-1] - times[0]
    share = goodput(known)
    assert share is None or 0 <= share <= 1
