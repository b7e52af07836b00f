"""Counters that follow from two statuses of a job, one written after the other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import REGISTRY

from qlora_api.reasons import Reason
from qlora_api.status import QLoRAJobStatus
from qlora_operator.counting import begin_at_zero, count

START = "2026-01-01T00:00:00Z"


def at(second: int) -> str:
    return f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"


def status(phase: str, *attempts: dict[str, Any], **fields: Any) -> QLoRAJobStatus:
    return QLoRAJobStatus.model_validate({"phase": phase, "attempts": attempts, **fields})


def ended(number: int, reason: str, **fields: Any) -> dict[str, Any]:
    return {"number": number, "startTime": START, "completionTime": at(60), "reason": reason, **fields}


def value(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"qlora_operator_{metric}_total", labels) or 0.0


class Counted:
    """What `count` adds to the counters."""

    def __init__(self, *statuses: QLoRAJobStatus) -> None:
        self._before = self._values()
        for before, after in pairwise(statuses):
            count(before, after)

    def added(self, metric: str, **labels: str) -> float:
        return value(metric, **labels) - self._before.get((metric, *sorted(labels.items())), 0.0)

    def _values(self) -> dict[Any, float]:
        return {
            (sample.name.removeprefix("qlora_operator_").removesuffix("_total"), *sorted(sample.labels.items())):
                sample.value for metric in REGISTRY.collect() for sample in metric.samples
        }  # fmt: skip


def test_a_restart_is_counted_under_its_reason_when_the_next_attempt_begins() -> None:
    first = ended(1, "NodeLost")
    second = {"number": 2, "startTime": at(70)}
    counted = Counted(
        status("Running", {"number": 1, "startTime": START}),
        status("Restarting", first, restarts=0),
        status("Restarting", first, second, restarts=1),
        status("Starting", first, second, restarts=1),
        status("Running", first, second, restarts=1),
    )
    assert counted.added("restarts", kind="attempt", reason="NodeLost") == 1
    assert counted.added("restarts", kind="attempt", reason="Other") == 0


@pytest.mark.parametrize("pause", ["Suspended", "Requeued"])
def test_going_on_after_a_pause_is_no_restart(pause: str) -> None:
    first = ended(1, pause)
    counted = Counted(
        status("Suspended", first, restarts=0),
        status("Restarting", first, {"number": 2, "startTime": at(70)}, restarts=0),
    )
    assert [counted.added("restarts", kind="attempt", reason=reason) for reason in (pause, "Other")] == [0, 0]


def test_a_preempted_job_counts_no_restart_but_its_start_and_the_steps_of_each_of_its_records() -> None:
    times = {"firstStepTime": at(20), "lastStepTime": at(50), "fromStep": 0, "toStep": 4}
    first = ended(1, "Requeued", **times)
    known = {**first, "lostSteps": 0}
    second = {"number": 1, "startTime": at(1000)}
    resumed = {**second, "firstStepTime": at(1030), "fromStep": 4}
    again = {**resumed, "completionTime": at(1100), "reason": "Requeued", "toStep": 9}
    counted = Counted(
        status("Queued", first, restarts=0),
        status("Starting", first, second, restarts=0),
        status("Running", known, resumed, restarts=0),
        status("Queued", known, again, restarts=0),
        status("Running", known, {**again, "lostSteps": 2}, {"number": 1, "startTime": at(2000)}, restarts=0),
    )
    assert counted.added("restarts", kind="attempt", reason="Requeued") == 0
    assert counted.added("lost_seconds", kind="down", reason="Requeued") == 30
    assert counted.added("lost_steps", reason="Requeued") == 2


def test_the_end_of_a_job_is_counted_once_with_its_reason() -> None:
    condition = {"status": "True", "lastTransitionTime": START}
    failed = [{"type": "Failed", "reason": "DatasetInvalid", **condition}]
    succeeded = [{"type": "Succeeded", "reason": "Succeeded", **condition}]
    running = status("Running")
    counted = Counted(running, status("Failed", conditions=failed), status("Failed", conditions=failed))
    assert counted.added("jobs_finished", phase="Failed", reason="DatasetInvalid") == 1
    counted = Counted(running, status("Succeeded", conditions=succeeded))
    assert counted.added("jobs_finished", phase="Succeeded", reason="Succeeded") == 1


def test_lost_steps_and_seconds_are_counted_once_with_the_reason_of_the_failure() -> None:
    times = {"firstStepTime": at(20), "lastStepTime": at(50), "fromStep": 0, "toStep": 4}
    training = {"number": 1, "startTime": START, "fromStep": 0, "firstStepTime": at(20)}
    second = {"number": 2, "startTime": at(70)}
    resumed = {**second, "fromStep": 2, "firstStepTime": at(90)}

    def progress(step: int, time: int) -> dict[str, Any]:
        return {"step": step, "of": 9, "position": f"{step}/9", "lastStepTime": at(time)}

    counted = Counted(
        status("Starting", {"number": 1, "startTime": START}),
        status("Running", training, progress=progress(1, 20)),
        status("Running", training, progress=progress(3, 40)),
        status("Restarting", ended(1, "Stalled", **times), progress=progress(4, 50)),
        status("Restarting", ended(1, "Stalled", **times), second, progress=progress(4, 50)),
        status("Running", ended(1, "Stalled", **times, lostSteps=2), resumed, progress=progress(3, 90)),
        status("Running", ended(1, "Stalled", **times, lostSteps=2), resumed, progress=progress(4, 95)),
    )
    assert counted.added("lost_seconds", kind="down", reason="Startup") == 20
    assert counted.added("trained_seconds") == 30 + 5
    assert counted.added("lost_steps", reason="Stalled") == 2
    assert counted.added("lost_seconds", kind="down", reason="Stalled") == 40
    assert counted.added("lost_seconds", kind="repeated", reason="Stalled") == 20


def test_a_restart_in_place_is_counted_with_its_reason_and_its_cost() -> None:
    attempt = {"number": 1, "startTime": START, "fromStep": 0, "firstStepTime": at(20)}
    told = {"number": 1, "reason": "TrainerFailed", "toStep": 4, "lastStepTime": at(50)}
    resumed = {**told, "fromStep": 2, "lostSteps": 2}
    again = {**resumed, "firstStepTime": at(62)}

    def running(step: int, time: int, restarts: int, *in_place: dict[str, Any]) -> QLoRAJobStatus:
        progress = {"step": step, "of": 9, "position": f"{step}/9", "lastStepTime": at(time)}
        record = {**attempt, "restartsInPlace": list(in_place)}
        return status("Running", record, progress=progress, restarts=restarts)

    counted = Counted(
        running(4, 50, 0),
        running(4, 50, 1, told),
        running(2, 55, 1, resumed),
        running(3, 62, 1, again),
        running(5, 82, 1, again),
    )
    assert counted.added("restarts", kind="in_place", reason="TrainerFailed") == 1
    assert counted.added("restarts", kind="attempt", reason="Other") == 0
    assert counted.added("lost_steps", reason="TrainerFailed") == 2
    assert counted.added("lost_seconds", kind="down", reason="TrainerFailed") == 12
    assert counted.added("lost_seconds", kind="repeated", reason="TrainerFailed") == 20
    assert counted.added("trained_seconds") == 20


def test_restarts_in_place_that_nobody_told_of_are_counted_without_a_reason() -> None:
    running = {"number": 1, "startTime": START}
    over = ended(1, "PodLost", restartsInPlace=[{"number": 1}, {"number": 2}])
    counted = Counted(status("Running", running, restarts=0), status("Restarting", over, restarts=2))
    assert counted.added("restarts", kind="in_place", reason="Other") == 2
    assert counted.added("restarts", kind="attempt", reason="PodLost") == 0


def test_records_that_are_dropped_for_their_age_take_nothing_back() -> None:
    old = ended(1, "NodeLost", firstStepTime=at(20), lastStepTime=at(50), fromStep=0, toStep=4, lostSteps=1)
    new = {"number": 2, "startTime": at(70), "firstStepTime": at(80)}
    counted = Counted(status("Running", old, new), status("Running", new))
    assert counted.added("trained_seconds") == 0


def test_a_word_that_a_pod_made_up_makes_no_series_of_its_own() -> None:
    first = ended(1, "AnyWordAtAll")
    counted = Counted(
        status("Restarting", first, restarts=0),
        status("Restarting", first, {"number": 2, "startTime": at(70)}, restarts=1),
    )
    assert counted.added("restarts", kind="attempt", reason="Other") == 1
    assert (
        REGISTRY.get_sample_value("qlora_operator_restarts_total", {"kind": "attempt", "reason": "AnyWordAtAll"})
        is None
    )


def test_every_reason_begins_at_zero_so_that_its_first_failure_is_seen() -> None:
    begin_at_zero()
    for reason in Reason:
        for metric, labels in (
            ("restarts", {"kind": "attempt"}),
            ("restarts", {"kind": "in_place"}),
            ("jobs_finished", {"phase": "Failed"}),
            ("lost_seconds", {"kind": "down"}),
        ):
            name = f"qlora_operator_{metric}_total"
            assert REGISTRY.get_sample_value(name, {**labels, "reason": reason}) is not None
