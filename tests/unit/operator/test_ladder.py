"""After a GPU ran out of memory: less at once in the next attempt, for as long as there is less."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import Body, batch_job_body, child_body, ended, job_body, pod_body, stored
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.observe import observe
from qlora_operator.plan import Plan, make_plan
from qlora_operator.times import timestamp
from qlora_operator.views import KIND_BY_NAME, QLORA_JOB

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS = PodDefaults(image="trainer:1", image_pull_policy="IfNotPresent", termination_grace_period=60)
HALVES = {"globalBatchSize": 16, "microBatchSize": 8, "onGPUOutOfMemory": "halve-micro-batch"}
FITS = {"globalBatchSize": 16, "fit": "auto", "onGPUOutOfMemory": "halve-micro-batch"}


def plan(written: Body, *objects: Body, training: Body = HALVES, **spec: Any) -> Plan:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body(training=training, **spec), status=written)))
    for body in objects:
        kind = KIND_BY_NAME[body["kind"]]
        cache.put(kind, kind.view(body))
    observation = observe(cache, ("default", "job"), None, DEFAULTS, NOW, frozenset())
    assert observation is not None
    return make_plan(observation)


def running(**fields: Any) -> Body:
    began = timestamp(NOW - timedelta(seconds=600))
    return {"phase": "Running", "startTime": began, "attempts": [{"number": 1, "startTime": began}], **fields}


def out_of_memory(written: Body, size: int | None = 8, checkpointing: bool = True, **more: Any) -> Plan:
    words: Body = {"outcome": "Failed", "reason": "GPUOutOfMemory", "message": "CUDA out of memory"}
    if size is not None:
        words |= {"microBatchSize": size, "gradientCheckpointing": checkpointing}
    failed = pod_body(0, trainer=ended(1, words), phase="Failed")
    there = [child_body("Service", "job"), child_body("ConfigMap", "job-1", uid="c")]
    return plan(written, *there, batch_job_body("FailureTarget"), failed, pod_body(1), **more)


def next_job_file(made: Plan, **more: Any) -> Body:
    """`job.json` of the attempt that follows a plan, asked of an operator that knows the status only."""
    begun = plan(made.status.to_json() | _ended_before(made), child_body("Service", "job"), **more)
    assert begun.status.attempts[-1].number == 2
    created = plan(begun.status.to_json(), child_body("Service", "job"), **more).create
    content: Body = json.loads(next(child for child in created if child["kind"] == "ConfigMap")["data"]["job.json"])
    return content


def _ended_before(made: Plan) -> Body:
    (attempt,) = made.status.to_json()["attempts"]
    return {"attempts": [attempt | {"completionTime": timestamp(NOW - timedelta(seconds=60))}]}


def test_the_next_attempt_holds_half_and_the_status_says_so() -> None:
    made = out_of_memory(running())
    sentence = "GPU out of memory with micro-batch 8; goes on with 4"
    assert made.status.phase == "Restarting"
    assert (made.status.attempts[0].reason, made.status.attempts[0].message) == ("GPUOutOfMemory", sentence)
    assert [(note.reason, note.message) for note in made.events] == [("GPUOutOfMemory", f"restarting: {sentence}")]
    assert next_job_file(made)["portion"] == {"microBatchSize": 4, "gradientCheckpointing": True}
    assert next_job_file(made)["spec"]["training"]["globalBatchSize"] == 16


def test_a_first_attempt_holds_what_the_job_says() -> None:
    created = plan({}).create
    config_map = next(child for child in created if child["kind"] == "ConfigMap")
    assert "portion" not in json.loads(config_map["data"]["job.json"])


def test_it_spends_no_restart() -> None:
    made = out_of_memory(running(restarts=3, countedRestarts=3), runPolicy={"maxRestarts": 3})
    begun = plan(made.status.to_json() | _ended_before(made), child_body("Service", "job"))
    assert (begun.status.restarts, begun.status.counted_restarts) == (4, 3)


def test_a_pod_that_tells_something_else_does_not_lengthen_the_ladder() -> None:
    made = out_of_memory(running(), size=1024)
    assert made.status.attempts[0].message == "GPU out of memory with micro-batch 8; goes on with 4"
    portion = {"microBatchSize": 2, "gradientCheckpointing": True}
    made = out_of_memory(running(portion=portion), size=1024)
    assert made.status.attempts[0].message == "GPU out of memory with micro-batch 2; goes on with 1"


def test_checkpointing_follows_the_last_halving_of_what_the_trainer_has_chosen() -> None:
    portion = {"microBatchSize": 1, "gradientCheckpointing": False}
    made = out_of_memory(running(portion=portion), 1, False, training=FITS)
    message = "GPU out of memory with micro-batch 1; goes on with gradient checkpointing"
    assert made.status.attempts[0].message == message
    assert next_job_file(made, training=FITS)["portion"] == {"microBatchSize": 1, "gradientCheckpointing": True}


def test_what_the_trainer_has_chosen_is_halved() -> None:
    made = out_of_memory(running(), 16, False, training=FITS)
    assert next_job_file(made, training=FITS)["portion"] == {"microBatchSize": 8, "gradientCheckpointing": False}


@pytest.mark.parametrize(
    ("written", "size", "training"),
    [
        (running(portion={"microBatchSize": 1, "gradientCheckpointing": True}), 1, HALVES),
        (running(), None, HALVES),
        (running(), 8, {**HALVES, "onGPUOutOfMemory": "fail"}),
    ],
    ids=["nothing smaller is left", "it was not the training", "the job has not asked for it"],
)
def test_otherwise_the_job_fails(written: Body, size: int | None, training: Body) -> None:
    made = out_of_memory(written, size, training=training)
    failed = made.status.condition("Failed")
    assert failed is not None
    assert (failed.reason, failed.message) == ("GPUOutOfMemory", "CUDA out of memory")


def test_a_later_failure_of_another_kind_keeps_what_was_found() -> None:
    portion = {"microBatchSize": 2, "gradientCheckpointing": True}
    words = {"outcome": "Failed", "reason": "TrainerFailed", "message": "why"}
    failed = pod_body(0, trainer=ended(1, words), phase="Failed")
    made = plan(running(portion=portion), batch_job_body("FailureTarget"), failed, pod_body(1))
    assert next_job_file(made)["portion"] == portion
