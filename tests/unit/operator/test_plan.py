"""The policies in their order: spec and observation in, decision out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from builders import SPEC, Body, batch_job_body, child_body, ended, job_body, pod_body, stored
from qlora_api import names, report
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.observe import observe
from qlora_operator.plan import Heard, Plan, make_plan
from qlora_operator.views import KIND_BY_NAME, POD, QLORA_JOB

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("default", "job")
DEFAULTS = PodDefaults(image="trainer:1", image_pull_policy="IfNotPresent", termination_grace_period=60)
BEGIN = "2025-12-31T23:59:00Z"
STARTED: Body = {"phase": "Starting", "startTime": BEGIN, "attempts": [{"number": 1, "startTime": BEGIN}]}
RUNNING: Body = {**STARTED, "phase": "Running"}
CREATING: Body = {"waiting": {"reason": "ContainerCreating"}}


def plan(*objects: Body, status: Body | None = None, progress: report.Progress | None = None, **spec: Any) -> Plan:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body(**spec), status=status)))
    for body in objects:
        kind = KIND_BY_NAME[body["kind"]]
        cache.put(kind, kind.view(body))
    observation = observe(cache, KEY, progress and Heard(progress, silence=0), DEFAULTS, NOW)
    assert observation is not None
    return make_plan(observation)


def children() -> list[Body]:
    return [child_body("Service", "job"), child_body("ConfigMap", "job-1", uid="c")]


def kinds(made: Plan) -> list[str]:
    return [manifest["kind"] for manifest in made.create]


def test_a_new_job_gets_all_children_at_once() -> None:
    made = plan()
    assert kinds(made) == ["Service", "ConfigMap", "Job"]
    assert made.status.phase == "Starting"
    assert made.status.attempts[0].number == 1
    assert made.status.start_time == "2026-01-01T00:00:00Z"


def test_children_from_before_a_crash_are_not_created_again() -> None:
    assert kinds(plan(*children(), batch_job_body())) == []
    assert kinds(plan(batch_job_body())) == ["Service", "ConfigMap"]


def test_the_attempt_of_an_adopted_job_is_recorded() -> None:
    assert len(plan(*children(), batch_job_body()).status.attempts) == 1


def test_a_job_runs_once_every_trainer_runs() -> None:
    waiting = pod_body(1, trainer={"waiting": {"reason": "PodInitializing"}})
    assert plan(*children(), batch_job_body(), pod_body(0), waiting, status=STARTED).status.phase == "Starting"
    assert plan(*children(), batch_job_body(), pod_body(0), pod_body(1), status=STARTED).status.phase == "Running"


def test_a_running_job_stays_running_while_a_pod_has_already_finished() -> None:
    pods = [pod_body(0), pod_body(1, trainer=ended(0), phase="Succeeded")]
    assert plan(*children(), batch_job_body(), *pods, status=RUNNING).status.phase == "Running"


def test_pods_of_another_attempt_or_job_do_not_count() -> None:
    stranger = pod_body(1)
    stranger["metadata"]["labels"][names.LABEL_JOB_UID] = "another"
    assert plan(*children(), batch_job_body(), pod_body(0), stranger, status=STARTED).status.phase == "Starting"


def test_a_complete_job_succeeds_with_the_last_words_of_its_first_pod() -> None:
    words = {"outcome": "Succeeded", "message": "trained 9 steps", "step": 9, "of": 9, "loss": 0.25, "fromStep": 4}
    pods = [pod_body(i, trainer=ended(0, words), phase="Succeeded") for i in range(2)]
    made = plan(*children(), batch_job_body("Complete"), *pods, status=RUNNING)
    assert made.status.phase == "Succeeded"
    assert made.status.progress is not None
    assert made.status.progress.position == "9/9"
    assert made.status.output is not None
    assert made.status.output.adapter == "pvc://results/out/adapter"
    assert made.status.attempts[0].from_step == 4
    assert [(note.type, note.reason) for note in made.events] == [("Normal", "Succeeded")]


def test_a_job_that_was_stopped_early_succeeds_and_says_so() -> None:
    sentence = "stopped early after 6 of 9 steps: no progress in 2 evaluations; the lowest loss was 1.1111 at step 2"
    evaluation = {"step": 6, "loss": 1.23456, "bestStep": 2, "bestLoss": 1.11111}
    words = {"outcome": "Succeeded", "message": sentence, "step": 6, "of": 9, "evaluation": evaluation}
    pods = [pod_body(i, trainer=ended(0, words), phase="Succeeded") for i in range(2)]
    status = plan(*children(), batch_job_body("Complete"), *pods, status=RUNNING).status
    succeeded = status.condition("Succeeded")
    assert succeeded is not None
    assert (succeeded.status, succeeded.message) == ("True", sentence)
    assert status.progress is not None
    assert status.progress.position == "6/9"
    assert status.progress.evaluation is not None
    assert status.progress.evaluation.to_json() == {**evaluation, "loss": 1.2346, "bestLoss": 1.1111}


def test_success_without_any_pod_left_is_success() -> None:
    assert plan(*children(), batch_job_body("Complete"), status=RUNNING).status.phase == "Succeeded"


def test_a_failing_job_fails_before_its_other_pods_are_gone() -> None:
    words = {"outcome": "Failed", "reason": "DatasetInvalid", "message": "line 7"}
    pods = [pod_body(0), pod_body(1, fetch=ended(1, words), trainer={"waiting": {}}, phase="Failed")]
    made = plan(*children(), batch_job_body("FailureTarget"), *pods, status=STARTED)
    failed = made.status.condition("Failed")
    assert failed is not None
    assert (failed.status, failed.reason, failed.message) == ("True", "DatasetInvalid", "line 7")
    assert (made.status.attempts[0].pod, made.status.attempts[0].node) == ("job-1-1-abcde", "node-1")
    assert [(note.type, note.reason) for note in made.events] == [("Warning", "DatasetInvalid")]


def test_a_failed_job_without_pods_says_what_the_job_says() -> None:
    made = plan(*children(), batch_job_body("Failed", message="pods vanished"), status=RUNNING)
    assert (made.status.attempts[0].reason, made.status.attempts[0].message) == ("PodLost", "pods vanished")


def test_a_final_phase_sticks() -> None:
    for phase in ("Succeeded", "Failed"):
        made = plan(batch_job_body("Complete"), status={**RUNNING, "phase": phase})
        assert (made.status.phase, made.create, made.events) == (phase, (), ())


def test_a_job_without_any_image_is_refused_with_what_to_write() -> None:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body())))
    observation = observe(cache, KEY, None, PodDefaults(None, "Always", 60), NOW)
    assert observation is not None
    made = make_plan(observation)
    accepted = made.status.condition("Accepted")
    assert accepted is not None
    assert (made.status.phase, accepted.status, accepted.reason) == ("Pending", "False", "NoTrainerImage")
    assert "write node.image" in accepted.message
    assert made.create == ()
    assert made.status.attempts == []


def test_a_spec_that_does_not_fit_is_refused_by_field() -> None:
    made = plan(nodes="many")
    accepted = made.status.condition("Accepted")
    assert accepted is not None
    assert accepted.reason == "Invalid"
    assert accepted.message.startswith("spec.nodes: ")


def test_an_image_that_cannot_be_pulled_is_told_with_the_pod() -> None:
    stuck = pod_body(
        0, phase="Pending", trainer={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    )
    running = plan(*children(), batch_job_body(), stuck, status=STARTED).status.condition("Running")
    assert running is not None
    assert (running.reason, running.message) == ("ImagePull", "pod job-1-0-abcde: no such image")


def test_progress_is_taken_over_and_rounded_for_reading() -> None:
    told = report.Progress(
        uid="uid", attempt=1, state="Training", step=12, of=60, loss=1.23456, tokens_per_second=98.76,
        eta_seconds=250, updated=0, evaluation=report.Evaluation(step=10, loss=2.34567, best_step=8, best_loss=2.0),
    )  # fmt: skip
    made = plan(*children(), batch_job_body(), pod_body(0), pod_body(1), status=RUNNING, progress=told)
    progress = made.status.progress
    assert progress is not None
    assert (progress.position, progress.loss, progress.tokens_per_second, progress.eta) == (
        "12/60",
        1.2346,
        98.8,
        "4m10s",
    )
    assert progress.evaluation is not None
    assert progress.evaluation.to_json() == {"step": 10, "loss": 2.3457, "bestStep": 8, "bestLoss": 2.0}


def test_memory_is_told_as_predicted_and_measured_and_stays_when_the_pod_is_silent() -> None:
    told = report.Progress(
        uid="uid", attempt=1, state="Training", step=12, of=60, updated=0, predicted_gpu_memory_bytes=9961 * 2**20,
        gpu_memory_bytes=9935 * 2**20,
    )  # fmt: skip
    pods = [*children(), batch_job_body(), pod_body(0), pod_body(1)]
    made = plan(*pods, status=RUNNING, progress=told).status
    assert made.memory is not None
    assert made.memory.to_json() == {"predicted": "9961Mi", "measured": "9935Mi"}
    assert plan(*pods, status=made.to_json()).status.memory == made.memory


def test_without_a_gpu_the_status_tells_of_no_memory() -> None:
    told = report.Progress(uid="uid", attempt=1, state="Training", step=12, of=60, updated=0)
    made = plan(*children(), batch_job_body(), pod_body(0), pod_body(1), status=RUNNING, progress=told)
    assert made.status.memory is None


def test_progress_of_another_attempt_is_not_taken() -> None:
    told = report.Progress(uid="uid", attempt=2, state="Training", step=12, of=60, updated=0)
    made = plan(*children(), batch_job_body(), pod_body(0), pod_body(1), status=RUNNING, progress=told)
    assert made.status.progress is None


def test_a_second_look_changes_nothing() -> None:
    objects = [*children(), batch_job_body(), pod_body(0), pod_body(1)]
    first = plan(*objects, status=STARTED)
    second = plan(*objects, status=first.status.to_json())
    assert second.status == first.status
    assert (second.create, second.events) == ((), ())


def test_a_condition_keeps_its_time_while_it_stays_true() -> None:
    first = plan(*children(), batch_job_body(), pod_body(0), pod_body(1), status=STARTED).status.to_json()
    for entry in first["conditions"]:
        entry["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    second = plan(*children(), batch_job_body(), pod_body(0), pod_body(1), status=first)
    assert {condition.last_transition_time for condition in second.status.conditions} == {"2020-01-01T00:00:00Z"}


def test_a_pod_in_the_cache_is_seen_in_the_order_of_its_index() -> None:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body(), status=STARTED)))
    cache.put(KIND_BY_NAME["Job"], KIND_BY_NAME["Job"].view(batch_job_body()))
    for index in (2, 0, 1):
        cache.put(POD, POD.view(pod_body(index)))
    observation = observe(cache, KEY, None, DEFAULTS, NOW)
    assert observation is not None
    assert [pod.completion_index for pod in observation.pods] == [0, 1, 2]


def test_a_pod_whose_containers_do_not_start_is_told_after_a_minute() -> None:
    pods = [pod_body(0), pod_body(1, trainer=CREATING, fetch=CREATING, scheduled_at="2025-12-31T23:58:30Z")]
    made = plan(*children(), batch_job_body(), *pods, status=STARTED)
    running = made.status.condition("Running")
    assert running is not None
    assert running.reason == "ContainersNotStarted"
    assert "kubectl describe pod job-1-1-abcde" in running.message


def test_a_pod_that_has_just_been_scheduled_is_waited_for() -> None:
    pods = [pod_body(0), pod_body(1, trainer=CREATING, fetch=CREATING, scheduled_at="2025-12-31T23:59:50Z")]
    made = plan(*children(), batch_job_body(), *pods, status=STARTED)
    running = made.status.condition("Running")
    assert running is not None
    assert running.reason == "PodsRequested"
    assert made.requeue_after == 60, "no event tells that a minute has passed"


def other_job(name: str, uid: str, created_at: str, **status: Any) -> Body:
    body = stored(job_body(name, output=SPEC["output"]), uid=uid, status=status)
    body["metadata"]["creationTimestamp"] = created_at
    return body


def plan_beside(other: Body) -> Plan:
    """The plan for a new job of the year 2026, of the same output as the other."""
    cache = Cache()
    for body in (other, other_job("job", "uid", "2026-01-01T00:00:00Z")):
        cache.put(QLORA_JOB, QLORA_JOB.view(body))
    observation = observe(cache, KEY, None, DEFAULTS, NOW)
    assert observation is not None
    return make_plan(observation)


def test_an_output_that_another_job_writes_to_is_refused_until_that_has_ended() -> None:
    made = plan_beside(other_job("first", "other", "2027-01-01T00:00:00Z", phase="Running"))
    accepted = made.status.condition("Accepted")
    assert accepted is not None
    assert (accepted.status, accepted.reason, kinds(made)) == ("False", "OutputInUse", [])
    assert "pvc://results/out is in use by QLoRAJob first" in accepted.message
    ended_job = other_job("first", "other", "2025-01-01T00:00:00Z", phase="Succeeded")
    assert kinds(plan_beside(ended_job)) == ["Service", "ConfigMap", "Job"]


def test_of_two_new_jobs_with_one_output_the_older_one_starts() -> None:
    assert kinds(plan_beside(other_job("older", "other", "2025-01-01T00:00:00Z"))) == []
    assert kinds(plan_beside(other_job("newer", "other", "2027-01-01T00:00:00Z"))) == ["Service", "ConfigMap", "Job"]


def test_a_job_is_not_said_to_train_before_its_ranks_do() -> None:
    pods = [pod_body(0), pod_body(1)]
    running = plan(*children(), batch_job_body(), *pods, status=STARTED).status.condition("Running")
    assert running is not None
    assert running.message == "starting the ranks of 2 nodes"


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_a_job_waits_until_the_pods_of_a_deleted_job_of_its_name_are_gone(phase: str) -> None:
    left = pod_body(0, phase=phase, deleting=True)
    left["metadata"]["labels"][names.LABEL_JOB_UID] = "predecessor"
    made = plan(left)
    running = made.status.condition("Running")
    assert running is not None
    assert (made.status.phase, running.reason, kinds(made)) == ("Pending", "PredecessorLeaves", [])
    assert made.requeue_after == 5
    assert kinds(plan()) == ["Service", "ConfigMap", "Job"]
