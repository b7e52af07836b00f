"""A job in a queue of Kueue: admitted, interrupted, admitted again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import Body, batch_job_body, child_body, ended, job_body, pod_body, stored
from qlora_api import names, report
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.observe import observe, queued_job
from qlora_operator.plan import Heard, Plan, make_plan
from qlora_operator.times import timestamp
from qlora_operator.views import JOB, KIND_BY_NAME, QLORA_JOB

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("default", "job")
DEFAULTS = PodDefaults(image="trainer:1", image_pull_policy="IfNotPresent", termination_grace_period=60)
QUOTA = "insufficient unused quota for cpu in flavor default, 1 more needed"
PREEMPTED = "Preempted to accommodate a workload due to prioritization in the ClusterQueue"
STOPPED = {"outcome": "Failed", "reason": "Stopped", "message": "asked to stop", "step": 42, "of": 60, "fromStep": 0}


def ago(seconds: float) -> str:
    return timestamp(NOW - timedelta(seconds=seconds))


def attempt(number: int = 1, began_ago: float = 600, **fields: Any) -> Body:
    return {"number": number, "startTime": ago(began_ago), **fields}


def requeued(ended_ago: float = 60, **fields: Any) -> Body:
    end = {"completionTime": ago(ended_ago), "reason": "Requeued", "message": "why"}
    return attempt(began_ago=ended_ago + 600, **end, **fields)


def status(phase: str, *attempts: Body, **fields: Any) -> Body:
    return {"phase": phase, "startTime": ago(7200), "attempts": list(attempts), **fields}


def plan(
    written: Body,
    *objects: Body,
    words: str | None = None,
    lost_nodes: frozenset[str] = frozenset(),
    step: int | None = None,
    from_step: int = 0,
    **spec: Any,
) -> Plan:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body(**{"queueName": "team-a", **spec}), status=written)))
    children = [child_body("Service", "job"), child_body("ConfigMap", "job-1", uid="c")]
    for body in [*children, *objects]:
        kind = KIND_BY_NAME[body["kind"]]
        cache.put(kind, kind.view(body))
    heard = None
    if step is not None:
        told = report.Progress(uid="uid", attempt=1, state="Training", step=step, of=60, from_step=from_step, updated=0)
        heard = Heard(told, silence=0)
    observation = observe(cache, KEY, heard, DEFAULTS, NOW, lost_nodes, words)
    assert observation is not None
    return make_plan(observation)


def queued_batch_job(**arguments: Any) -> Body:
    return batch_job_body(**{"suspended": True, "queue": "team-a", **arguments})


def running_message(made: Plan) -> tuple[str, str]:
    condition = made.status.condition("Running")
    assert condition is not None
    return condition.reason, condition.message


def test_a_job_with_a_queue_is_created_suspended_and_labelled() -> None:
    made = plan({}, priorityClass="urgent")
    (job,) = made.create
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"][names.LABEL_QUEUE] == "team-a"
    assert job["metadata"]["labels"][names.LABEL_PRIORITY_CLASS] == "urgent"
    assert names.LABEL_QUEUE not in job["spec"]["template"]["metadata"]["labels"]
    assert (made.status.phase, len(made.status.attempts)) == ("Queued", 1)
    assert not made.polls


def test_a_job_without_a_queue_is_neither() -> None:
    (job,) = plan({}, queueName=None).create
    assert "suspend" not in job["spec"]
    assert names.LABEL_QUEUE not in job["metadata"]["labels"]


def test_a_queued_job_says_what_it_waits_for() -> None:
    made = plan(status("Queued", attempt()), queued_batch_job(), words=QUOTA)
    assert made.status.phase == "Queued"
    assert running_message(made) == ("Queued", f"waiting for queue team-a to admit Job job-1: {QUOTA}")


def test_what_the_queue_said_stands_while_it_cannot_be_asked() -> None:
    written = plan(status("Queued", attempt()), queued_batch_job(), words=QUOTA).status.to_json()
    assert QUOTA in running_message(plan(written, queued_batch_job()))[1]


def test_a_new_job_is_looked_at_again_soon_and_one_that_waits_later() -> None:
    assert plan(status("Queued", attempt(began_ago=1)), queued_batch_job()).requeue_after == 2
    assert plan(status("Queued", attempt(began_ago=1)), queued_batch_job(), words=QUOTA).requeue_after == 30
    assert plan(status("Queued", attempt(began_ago=60)), queued_batch_job()).requeue_after == 30


def test_an_admitted_job_starts_and_its_attempt_begins_now() -> None:
    made = plan(status("Queued", attempt(), pausedSince=ago(600)), queued_batch_job(suspended=False))
    assert made.status.phase == "Starting"
    (record,) = made.status.attempts
    assert (record.number, record.start_time) == (1, timestamp(NOW))


def test_the_time_in_the_queue_is_not_counted_by_the_start_deadline() -> None:
    policy = {"startDeadline": "50s"}
    waiting = status("Queued", attempt(began_ago=3600), pausedSince=ago(3600))
    assert plan(waiting, queued_batch_job(), runPolicy=policy).status.phase == "Queued"
    admitted = plan(waiting, queued_batch_job(suspended=False), runPolicy=policy)
    assert admitted.status.phase == "Starting"
    again = plan(admitted.status.to_json(), queued_batch_job(suspended=False), runPolicy=policy)
    assert again.status.phase == "Starting"
    assert again.requeue_after == 50


@pytest.mark.parametrize(
    ("paused", "phase"), [({"pausedSeconds": 7000}, "Running"), ({"pausedSeconds": 6000}, "Failed"), ({}, "Failed")]
)
def test_pauses_are_not_counted_by_the_active_deadline(paused: Body, phase: str) -> None:
    pods = [pod_body(0), pod_body(1)]
    written = status("Running", attempt(), **paused)
    made = plan(written, queued_batch_job(suspended=False), *pods, runPolicy={"activeDeadline": "15m"})
    assert made.status.phase == phase


@pytest.mark.parametrize("policy", [{}, {"suspend": True}])
def test_no_deadline_ends_a_job_that_waits(policy: Body) -> None:
    written = status("Queued", attempt(), pausedSince=ago(7200))
    made = plan(written, queued_batch_job(), runPolicy={"activeDeadline": "15m", **policy})
    assert made.status.phase in ("Queued", "Suspended")


def test_the_pauses_of_a_job_add_up() -> None:
    written = status("Queued", attempt(), pausedSince=ago(100), pausedSeconds=20)
    made = plan(written, queued_batch_job(suspended=False))
    assert (made.status.paused_since, made.status.paused_seconds) == (None, 120)
    again = plan({**made.status.to_json(), "phase": "Running"}, queued_batch_job())
    assert (again.status.paused_since, again.status.paused_seconds) == (timestamp(NOW), 120)


def interrupted(**spec: Any) -> Plan:
    written = status("Running", attempt(fromStep=0), restarts=0, countedRestarts=0)
    return plan(written, queued_batch_job(), pod_body(0), pod_body(1), words=PREEMPTED, step=40, **spec)


def test_a_preempted_attempt_is_recorded_as_interrupted() -> None:
    made = interrupted()
    assert made.status.phase == "Queued"
    (record,) = made.status.attempts
    assert (record.number, record.reason, record.from_step, record.to_step) == (1, "Requeued", 0, 40)
    assert PREEMPTED in (record.message or "")
    assert record.completion_time == timestamp(NOW)
    assert [(note.type, note.reason) for note in made.events] == [("Normal", "Requeued")]


def test_preemption_costs_no_restart_and_no_disruption() -> None:
    made = interrupted(runPolicy={"maxRestarts": 0, "maxDisruptions": 0})
    assert made.status.phase == "Queued"
    back = plan(made.status.to_json(), queued_batch_job(suspended=False), runPolicy={"maxRestarts": 0})
    assert (back.status.phase, back.status.restarts, back.status.counted_restarts) == ("Starting", 0, 0)


def test_a_preempted_job_keeps_its_batch_job_and_so_its_place() -> None:
    made = plan(status("Queued", requeued()), queued_batch_job(), words=QUOTA)
    assert made.status.phase == "Queued"
    assert running_message(made) == ("Requeued", f"waiting for queue team-a to admit Job job-1: {QUOTA}")
    assert (made.create, made.decision and made.decision.delete_jobs) == ((), ())


def test_the_last_words_of_a_preempted_pod_complete_its_record() -> None:
    pod = pod_body(0, trainer=ended(143, STOPPED), phase="Failed", deleting=True)
    made = plan(status("Queued", requeued(fromStep=0, toStep=40)), queued_batch_job(), pod)
    assert made.status.attempts[-1].to_step == 42
    assert made.status.progress is not None
    assert made.status.progress.position == "42/60"


def test_a_job_that_is_admitted_again_goes_on_under_the_same_number() -> None:
    made = plan(status("Queued", requeued(fromStep=0, toStep=40)), queued_batch_job(suspended=False))
    first, second = made.status.attempts
    assert (first.number, second.number) == (1, 1)
    assert (second.start_time, second.reason) == (timestamp(NOW), None)
    assert made.create == ()


@pytest.mark.parametrize(("from_step", "lost"), [(42, 0), (30, 12)])
def test_lost_steps_are_told_once_training_goes_on(from_step: int, lost: int) -> None:
    written = status("Running", requeued(fromStep=0, toStep=42), attempt())
    pods = [pod_body(0), pod_body(1)]
    made = plan(written, queued_batch_job(suspended=False), *pods, step=from_step + 1, from_step=from_step)
    assert [record.lost_steps for record in made.status.attempts] == [lost, None]
    assert made.status.attempts[1].from_step == from_step


def test_pods_that_are_leaving_do_not_count_as_running() -> None:
    written = status("Starting", requeued(), attempt(began_ago=1))
    pods = [pod_body(0, deleting=True), pod_body(1, deleting=True)]
    assert plan(written, queued_batch_job(suspended=False), *pods).status.phase == "Starting"


def test_a_job_that_is_suspended_while_it_starts_waits_in_the_same_record() -> None:
    made = plan(status("Starting", attempt()), queued_batch_job(), pod_body(0))
    assert (made.status.phase, len(made.status.attempts)) == ("Queued", 1)
    assert made.status.attempts[0].reason is None


def test_a_job_that_somebody_else_suspends_waits_as_well() -> None:
    made = plan(status("Running", attempt()), batch_job_body(suspended=True), queueName=None)
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Queued", "Requeued")
    again = plan(made.status.to_json(), batch_job_body(suspended=True), queueName=None)
    assert running_message(again)[1] == "waiting for Job job-1 to be resumed"


def test_a_preempted_job_that_loses_a_node_begins_a_new_attempt() -> None:
    written = status("Queued", requeued(ended_ago=10))
    made = plan(written, queued_batch_job(), pod_body(1, ready=False), lost_nodes=frozenset({"node-1"}))
    assert made.decision is not None
    assert made.status.phase == "Restarting"
    assert [job.metadata.name for job in made.decision.delete_jobs] == ["job-1"]
    assert [pod.metadata.name for pod in made.decision.force_delete] == ["job-1-1-abcde"]
    gone = plan(made.status.to_json())
    assert (gone.status.attempts[-1].number, gone.status.restarts) == (2, 0)


def test_a_batch_job_that_fails_while_it_is_preempted_is_no_disruption() -> None:
    pod = pod_body(0, trainer=ended(143, STOPPED), phase="Failed")
    policy = {"maxRestarts": 0, "maxDisruptions": 0}
    made = plan(status("Running", attempt()), queued_batch_job_failed(), pod, runPolicy=policy)
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Restarting", "Requeued")
    assert made.status.attempts[-1].to_step == 42
    after = plan(made.status.to_json(), queued_batch_job_failed(), pod, runPolicy=policy)
    assert after.decision is not None
    assert [job.metadata.name for job in after.decision.delete_jobs] == ["job-1"], (
        "it would keep its place in the queue"
    )


def test_a_preempted_job_of_which_a_pod_has_succeeded_begins_a_new_attempt_with_all_its_pods() -> None:
    made = plan(status("Queued", requeued()), queued_batch_job(succeeded=1))
    assert made.decision is not None
    assert (made.status.phase, len(made.decision.delete_jobs)) == ("Restarting", 1)


def test_a_batch_job_that_fails_for_a_reason_of_its_own_fails_although_it_is_suspended() -> None:
    words = {"outcome": "Failed", "reason": "LossDiverged", "message": "the loss is NaN"}
    pod = pod_body(0, trainer=ended(1, words), phase="Failed")
    assert plan(status("Running", attempt()), queued_batch_job_failed(), pod).status.phase == "Failed"


def queued_batch_job_failed() -> Body:
    return batch_job_body("Failed", suspended=True, queue="team-a")


def test_a_job_moves_to_another_queue_with_a_new_batch_job() -> None:
    made = plan(status("Queued", attempt()), queued_batch_job(), queueName="team-b")
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Restarting", "Requeued")
    assert [(note.type, note.reason) for note in made.events] == [("Normal", "Requeued")]
    after = plan(made.status.to_json(), queued_batch_job(), queueName="team-b")
    assert after.decision is not None
    assert [job.metadata.name for job in after.decision.delete_jobs] == ["job-1"]
    begun = plan(after.status.to_json(), queueName="team-b")
    assert begun.status.attempts[-1].number == 2
    (_, job) = plan(begun.status.to_json(), queueName="team-b").create
    assert (job["metadata"]["name"], job["metadata"]["labels"][names.LABEL_QUEUE]) == ("job-2", "team-b")


def test_a_preempted_job_can_move_too() -> None:
    made = plan(status("Queued", requeued()), queued_batch_job(), priorityClass="urgent")
    assert made.decision is not None
    assert [job.metadata.name for job in made.decision.delete_jobs] == ["job-1"]


def test_a_priority_class_that_kueue_fills_in_is_left_alone() -> None:
    made = plan(status("Queued", attempt()), queued_batch_job(priority_class="default"))
    assert made.status.phase == "Queued"


def test_a_queued_job_can_be_suspended_by_its_user() -> None:
    made = plan(status("Queued", attempt()), queued_batch_job(), runPolicy={"suspend": True})
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Suspended", "Suspended")
    after = plan(made.status.to_json(), queued_batch_job(), runPolicy={"suspend": True})
    assert after.decision is not None
    assert [job.metadata.name for job in after.decision.delete_jobs] == ["job-1"]


def test_a_service_that_was_deleted_while_the_job_waits_comes_back() -> None:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body(queueName="team-a"), status=status("Queued", attempt()))))
    cache.put(JOB, JOB.view(queued_batch_job()))
    observation = observe(cache, KEY, None, DEFAULTS, NOW)
    assert observation is not None
    assert [child["kind"] for child in make_plan(observation).create] == ["Service", "ConfigMap"]


@pytest.mark.parametrize(
    ("job", "waits"),
    [
        (queued_batch_job(), True),
        (queued_batch_job(suspended=False), False),
        (queued_batch_job(queue=None), False),
        (queued_batch_job_failed(), False),
    ],
)
def test_a_queue_is_asked_only_about_a_job_that_waits_in_it(job: Body, waits: bool) -> None:
    cache = Cache()
    cache.put(JOB, JOB.view(job))
    assert (queued_job(cache, KEY) is not None) == waits
