"""What users and programs are told: phases, conditions, the generation that was seen, and Events once each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import Body, batch_job_body, child_body, ended, job_body, pod_body, stored
from qlora_api import report
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.observe import observe
from qlora_operator.plan import EventNote, Heard, Plan, make_plan
from qlora_operator.views import KIND_BY_NAME, QLORA_JOB

KEY = ("default", "job")
DEFAULTS = PodDefaults(image="trainer:1", image_pull_policy="IfNotPresent", termination_grace_period=60)


class Life:
    """A job that is looked at in one situation after the other, in each until its status stays the same.

    What a plan creates or deletes exists or is gone at the next look; pods are what the test says.
    """

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.status: Body = {}
        self.generation = 1
        self.attempt = 1
        self.has_job = False

    def look(self, *pods: Body, job: str | None = None, **arguments: Any) -> list[tuple[str, str]]:
        """Type and reason of the Events of all these looks, the last of which has changed nothing."""
        self.now += timedelta(minutes=1)
        told: list[EventNote] = []
        while True:
            before, had_job = self.status, self.has_job
            made = self.plan(*pods, job=job, **arguments)
            told += made.events
            if (self.status, self.has_job) == (before, had_job):
                return [(note.type, note.reason) for note in told]

    def plan(self, *pods: Body, job: str | None = None, heard: Heard | None = None, **spec: Any) -> Plan:
        cache = Cache()
        resource = stored(job_body(**spec), status=self.status, generation=self.generation)
        cache.put(QLORA_JOB, QLORA_JOB.view(resource))
        objects = [child_body("Service", "job"), child_body("ConfigMap", f"job-{self.attempt}", attempt=self.attempt)]
        if self.has_job:
            objects.append(batch_job_body(*[job] if job else [], attempt=self.attempt))
        for body in [*objects, *pods]:
            kind = KIND_BY_NAME[body["kind"]]
            cache.put(kind, kind.view(body))
        observation = observe(cache, KEY, heard, DEFAULTS, self.now)
        assert observation is not None
        made = make_plan(observation)
        self.status = made.status.to_json()
        if any(child["kind"] == "Job" for child in made.create):
            self.attempt, self.has_job = observation.attempt, True
        if made.decision is not None and made.decision.delete_jobs:
            self.has_job = False
        return made

    def pods(self) -> list[Body]:
        return [pod_body(index, attempt=self.attempt) for index in range(2)]

    def ended_pods(self, exit_code: int, **words: Any) -> list[Body]:
        phase = "Failed" if exit_code else "Succeeded"
        return [pod_body(i, trainer=ended(exit_code, words), phase=phase, attempt=self.attempt) for i in range(2)]

    def condition(self, type_: str) -> tuple[str, str]:
        found = next(entry for entry in self.status["conditions"] if entry["type"] == type_)
        return found["status"], found["reason"]


@pytest.fixture
def life() -> Life:
    return Life()


SUSPEND = {"suspend": True}


def test_a_life_of_failures_and_pauses_tells_each_turn_once(life: Life) -> None:
    told: list[Any] = []

    def look(*pods: Body, **arguments: Any) -> None:
        events = life.look(*pods, **arguments)
        told.append((life.attempt, life.status["phase"], events))

    look()
    look(*life.pods())
    look(*life.ended_pods(1, outcome="Failed", reason="TrainerFailed", message="why"), job="Failed")
    look()
    look(*life.pods())
    look(*life.pods(), runPolicy=SUSPEND)
    look(runPolicy=SUSPEND)
    look()
    look(*life.pods())
    words = {"outcome": "Succeeded", "message": "trained 9 steps", "step": 9, "of": 9}
    look(*life.ended_pods(0, **words), job="Complete")
    look(*life.ended_pods(0, **words), job="Complete")
    assert told == [
        (1, "Starting", []),
        (1, "Running", []),
        (1, "Restarting", [("Warning", "TrainerFailed")]),
        (2, "Starting", []),
        (2, "Running", []),
        (2, "Suspended", [("Normal", "Suspended")]),
        (2, "Suspended", []),
        (3, "Starting", [("Normal", "Resumed")]),
        (3, "Running", []),
        (3, "Succeeded", [("Normal", "Succeeded")]),
        (3, "Succeeded", []),
    ]


def test_a_job_that_goes_on_says_so_and_not_that_it_is_suspended(life: Life) -> None:
    life.look()
    life.look(*life.pods())
    life.look(*life.pods(), runPolicy=SUSPEND)
    leaving = pod_body(0, deleting=True)
    (note,) = life.plan(leaving).events
    assert (note.type, note.reason) == ("Normal", "Resumed")
    assert note.message == "runPolicy.suspend is false again; the job goes on from its last checkpoint"
    assert life.condition("Running") == ("False", "Resumed")
    assert life.look(leaving) == []


def test_a_refusal_is_told_once_and_lifted_without_a_word(life: Life) -> None:
    assert life.look(nodes="many") == [("Warning", "Invalid")]
    assert life.look(nodes="many") == []
    assert life.look() == []
    assert life.condition("Accepted") == ("True", "Valid")


def test_a_stalled_job_carries_the_condition_until_it_trains_again(life: Life) -> None:
    life.look()
    life.look(*life.pods())
    figures = heard(step=9).progress
    (note,) = life.plan(*life.pods(), heard=Heard(figures, silence=31)).events
    assert (note.type, note.reason) == ("Warning", "NoProgress")
    assert (life.status["phase"], life.condition("Stalled")) == ("Running", ("True", "NoProgress"))
    (note,) = life.plan(*life.pods(), heard=Heard(figures, silence=61)).events
    assert (note.type, note.reason) == ("Warning", "Stalled")
    assert (life.status["phase"], life.condition("Stalled")) == ("Restarting", ("True", "Stalled"))
    assert life.look() == []
    assert (life.status["phase"], life.condition("Stalled")) == ("Starting", ("True", "Stalled"))
    assert life.look(*life.pods()) == []
    assert (life.status["phase"], life.condition("Stalled")) == ("Running", ("False", "Progressing"))


@pytest.mark.parametrize("phase", ["Starting", "Running", "Restarting", "Suspended", "Succeeded", "Failed"])
def test_the_generation_that_was_seen_is_told_in_every_phase(life: Life, phase: str) -> None:
    """Programs that wait until a change is taken in compare it with metadata.generation."""
    times = {"startTime": "2026-01-01T00:00:00Z"}
    closed = {"completionTime": "2026-01-01T00:00:59Z", "reason": "TrainerFailed"} if phase == "Restarting" else {}
    life.status = {"phase": phase, **times, "observedGeneration": 1, "attempts": [{"number": 1, **times, **closed}]}
    life.generation, life.has_job = 7, True
    life.plan(pod_body(0), runPolicy=SUSPEND if phase == "Suspended" else {})
    assert (life.status["phase"], life.status["observedGeneration"]) == (phase, 7)


def test_every_condition_says_which_generation_it_is_about(life: Life) -> None:
    life.generation = 3
    life.look()
    assert {entry["observedGeneration"] for entry in life.status["conditions"]} == {3}


def heard(step: int, from_step: int = 0, attempt: int = 1) -> Heard:
    figures = {"state": "Training", "step": step, "of": 60, "from_step": from_step, "step_seconds": 1.0, "updated": 0}
    return Heard(report.Progress.model_validate({"uid": "uid", "attempt": attempt, **figures}), silence=0)


def test_first_and_last_step_are_dated_when_they_are_seen(life: Life) -> None:
    """Twelve looks, one a minute: the times are what lost seconds are computed from."""
    life.look()
    life.look(*life.pods())
    life.look(*life.pods(), heard=heard(step=0))
    assert "firstStepTime" not in life.status["attempts"][0], "loading is no step"
    for step in (1, 5, 5):
        life.look(*life.pods(), heard=heard(step))
    words = {"outcome": "Failed", "reason": "TrainerFailed", "step": 5, "fromStep": 0}
    life.look(*life.ended_pods(1, **words), job="Failed", heard=heard(5))
    first = life.status["attempts"][0]
    times = ("startTime", "firstStepTime", "lastStepTime", "completionTime")
    assert [first[name][11:16] for name in times] == ["00:01", "00:04", "00:05", "00:07"]
    life.look()
    life.look(*life.pods(), heard=heard(step=4, from_step=4, attempt=2))
    assert "firstStepTime" not in life.status["attempts"][1], "the step that was restored is no step"
    life.look(*life.pods(), heard=heard(step=5, from_step=4, attempt=2))
    second = life.status["attempts"][1]
    assert [second[name][11:16] for name in times[:2]] == ["00:08", "00:10"]
    assert life.status["attempts"][0]["lostSteps"] == 1


def test_an_operator_that_began_anew_knows_the_last_step_from_the_status(life: Life) -> None:
    life.look()
    life.look(*life.pods(), heard=heard(7))
    life.look(*life.pods(), heard=heard(9))
    life.look(job="Failed")
    (record,) = life.status["attempts"]
    assert (record["reason"], record["toStep"], record["lastStepTime"][11:16]) == ("PodLost", 9, "00:03")


def test_the_steps_around_a_restart_in_place_are_dated_by_the_operators_clock(life: Life) -> None:
    told = {"number": 1, "time": 0.0, "reason": "TrainerFailed", "to_step": 9}

    def restarted(step: int, **fields: Any) -> Heard:
        figures = heard(step).progress
        return Heard(figures.model_copy(update={"restarts": [report.Restart(**told, **fields)]}), silence=0)

    life.look()
    life.look(*life.pods(), heard=heard(9))
    life.look(*life.pods(), heard=restarted(9))
    life.look(*life.pods(), heard=restarted(6, from_step=6))
    (record,) = life.status["attempts"][0]["restartsInPlace"]
    assert (record["lastStepTime"][11:16], record.get("firstStepTime")) == ("00:02", None)
    life.look(*life.pods(), heard=restarted(7, from_step=6))
    life.look(*life.pods(), heard=restarted(8, from_step=6))
    (record,) = life.status["attempts"][0]["restartsInPlace"]
    assert (record["lastStepTime"][11:16], record["firstStepTime"][11:16], record["lostSteps"]) == ("00:02", "00:05", 3)
