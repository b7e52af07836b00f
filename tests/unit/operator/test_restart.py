"""Attempts: how one ends and when the next begins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import Body, batch_job_body, child_body, ended, job_body, pod_body, stored
from qlora_api import report
from qlora_api.reasons import POLICIES, Reason, Retry
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.observe import observe
from qlora_operator.plan import Heard, Plan, make_plan
from qlora_operator.times import timestamp
from qlora_operator.views import KIND_BY_NAME, POD, QLORA_JOB

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("default", "job")
DEFAULTS = PodDefaults(image="trainer:1", image_pull_policy="IfNotPresent", termination_grace_period=60)


def ago(seconds: float) -> str:
    return timestamp(NOW - timedelta(seconds=seconds))


def attempt(number: int = 1, reason: str | None = None, ended_ago: float = 60, **fields: Any) -> Body:
    record: Body = {"number": number, "startTime": ago(ended_ago + 60), **fields}
    return (
        record if reason is None else {**record, "reason": reason, "message": "why", "completionTime": ago(ended_ago)}
    )


def status(phase: str, *attempts: Body, **fields: Any) -> Body:
    return {"phase": phase, "startTime": ago(7200), "attempts": list(attempts), **fields}


def plan(
    written: Body,
    *objects: Body,
    lost_nodes: frozenset[str] = frozenset(),
    progress: report.Progress | None = None,
    silence: float = 0,
    gone: Sequence[Body] = (),
    **spec: Any,
) -> Plan:
    cache = Cache()
    cache.put(QLORA_JOB, QLORA_JOB.view(stored(job_body(**spec), status=written)))
    for body in objects:
        kind = KIND_BY_NAME[body["kind"]]
        cache.put(kind, kind.view(body))
    for body in gone:
        cache.remove(POD, POD.view(body))
    observation = observe(cache, KEY, progress and Heard(progress, silence), DEFAULTS, NOW, lost_nodes)
    assert observation is not None
    return make_plan(observation)


def children(number: int = 1) -> list[Body]:
    config_map = child_body("ConfigMap", f"job-{number}", uid="c", attempt=number)
    return [child_body("Service", "job"), config_map]


def failed_pod(reason: str, index: int = 0, **words: Any) -> Body:
    message = {"outcome": "Failed", "reason": reason, "message": "why", **words}
    return pod_body(index, trainer=ended(1, message), phase="Failed")


RUNNING = status("Running", attempt())


def fail(reason: str, written: Body = RUNNING, restarts: int | None = None, **spec: Any) -> Plan:
    failed = failed_pod(reason, **({} if restarts is None else {"restarts": restarts}))
    return plan(written, *children(), batch_job_body("FailureTarget"), failed, pod_body(1), **spec)


@pytest.mark.parametrize("reason", [reason for reason, policy in POLICIES.items() if policy.retry == Retry.NEVER])
def test_what_would_fail_again_fails_the_job_at_once(reason: Reason) -> None:
    made = fail(reason)
    assert made.status.phase == "Failed"
    failed = made.status.condition("Failed")
    assert failed is not None
    assert (failed.reason, failed.message) == (reason, "why")


@pytest.mark.parametrize("reason", [reason for reason, policy in POLICIES.items() if policy.retry != Retry.NEVER])
def test_what_may_pass_restarts_the_job(reason: Reason) -> None:
    made = fail(reason)
    assert made.status.phase == "Restarting"
    record = made.status.attempts[-1]
    assert (record.number, record.reason, record.completion_time) == (1, reason, timestamp(NOW))
    assert (record.pod, record.node) == ("job-1-0-abcde", "node-0")
    assert [(note.type, note.reason) for note in made.events] == [("Warning", reason)]


def test_a_reason_that_this_operator_does_not_know_is_retried_under_its_name() -> None:
    made = fail("CosmicRay")
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Restarting", "CosmicRay")


def test_a_pod_without_last_words_is_retried() -> None:
    pod = pod_body(0, trainer=ended(1, "no words"), phase="Failed")
    made = plan(RUNNING, *children(), batch_job_body("FailureTarget"), pod, pod_body(1))
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Restarting", "TrainerFailed")


def test_the_budget_of_restarts_ends_the_job_and_says_so() -> None:
    written = status("Running", attempt(1), restarts=3, countedRestarts=3)
    made = fail("TrainerFailed", written)
    failed = made.status.condition("Failed")
    assert failed is not None
    assert failed.message == "why; given up after 3 restarts (runPolicy.maxRestarts)"


def test_no_restart_at_all_can_be_asked_for() -> None:
    assert fail("TrainerFailed", runPolicy={"maxRestarts": 0}).status.phase == "Failed"


def test_what_the_cluster_does_is_not_counted() -> None:
    written = status("Running", attempt(1), restarts=3, countedRestarts=3)
    evicted = pod_body(0, trainer=ended(143), phase="Failed", disruption="EvictionByEvictionAPI")
    made = plan(written, *children(), batch_job_body("FailureTarget"), evicted, pod_body(1))
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Restarting", "Evicted")


def test_disruptions_are_bounded_within_an_hour() -> None:
    recent = [attempt(number, "NodeLost", ended_ago=100 * number) for number in range(1, 4)]
    old = [attempt(number, "NodeLost", ended_ago=4000) for number in range(4, 9)]
    evicted = pod_body(0, trainer=ended(143), phase="Failed", disruption="EvictionByEvictionAPI", attempt=9)
    objects = [*children(9), batch_job_body("FailureTarget", attempt=9), evicted]
    written = status("Running", *old, *recent, attempt(9))
    assert plan(written, *objects, runPolicy={"maxDisruptions": 4}).status.phase == "Restarting"
    made = plan(written, *objects, runPolicy={"maxDisruptions": 3})
    failed = made.status.condition("Failed")
    assert failed is not None
    assert "given up after 3 disruptions within an hour (runPolicy.maxDisruptions)" in failed.message


@pytest.mark.parametrize(
    ("disruption", "reason"),
    [
        ("PreemptionByScheduler", "Preempted"),
        ("DeletionByTaintManager", "NodeLost"),
        ("DeletionByPodGC", "NodeLost"),
        ("EvictionByEvictionAPI", "Evicted"),
        ("TerminationByKubelet", "Evicted"),
    ],
)
def test_a_disruption_is_told_apart_from_the_stop_that_the_trainer_saw(disruption: str, reason: str) -> None:
    words = {"outcome": "Failed", "reason": "Stopped", "message": "asked to stop", "step": 7}
    pod = pod_body(1, trainer=ended(143, words), phase="Failed", disruption=disruption)
    peer = failed_pod("PeerLost")
    made = plan(RUNNING, *children(), batch_job_body("FailureTarget"), peer, pod)
    record = made.status.attempts[-1]
    assert (record.reason, record.to_step) == (reason, 7)


def test_a_pod_deleted_by_hand_restarts_the_job() -> None:
    made = plan(RUNNING, *children(), batch_job_body("FailureTarget", message="a pod is gone"), pod_body(1))
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Restarting", "PodLost")


def test_a_job_deleted_from_outside_is_a_disruption() -> None:
    made = plan(RUNNING, *children())
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Restarting", "PodLost")
    assert "Job job-1 was deleted from outside" in (made.status.attempts[-1].message or "")
    assert made.create == ()


def test_a_lost_node_ends_the_attempt_although_its_job_goes_on() -> None:
    pods = [pod_body(0), pod_body(1, ready=False)]
    made = plan(RUNNING, *children(), batch_job_body(), *pods, lost_nodes=frozenset({"node-1"}))
    record = made.status.attempts[-1]
    assert (made.status.phase, record.reason, record.node) == ("Restarting", "NodeLost", "node-1")
    assert made.decision is not None
    assert made.decision.delete_jobs == (), "the end is recorded before anything is deleted"


ENDED = status("Restarting", attempt(1, "NodeLost", ended_ago=10, fromStep=0, toStep=5))


def test_after_the_record_job_and_lost_pods_are_cleared_away() -> None:
    pods = [pod_body(0), pod_body(1, ready=False)]
    made = plan(ENDED, *children(), batch_job_body(), *pods, lost_nodes=frozenset({"node-1"}))
    assert made.decision is not None
    assert [job.metadata.name for job in made.decision.delete_jobs] == ["job-1"]
    assert [pod.metadata.name for pod in made.decision.force_delete] == ["job-1-1-abcde"]
    assert len(made.status.attempts) == 1, "the next attempt waits until they are gone"


def test_a_pod_is_deleted_by_force_once() -> None:
    pods = pod_body(0), pod_body(1, deleting=True, forced=True)
    made = plan(ENDED, *children(), *pods, lost_nodes=frozenset({"node-1"}))
    assert made.decision is not None
    assert made.decision.force_delete == ()


def test_pods_of_lost_nodes_are_left_alone_if_the_policy_says_so() -> None:
    pods = [pod_body(1, ready=False)]
    policy = {"replacePodsOfLostNodes": False}
    made = plan(ENDED, *children(), *pods, lost_nodes=frozenset({"node-1"}), runPolicy=policy)
    assert made.decision is not None
    assert made.decision.force_delete == ()


def test_a_job_that_failed_by_itself_keeps_its_pods_and_logs() -> None:
    written = status("Restarting", attempt(1, "TrainerFailed", ended_ago=10, fromStep=0, toStep=5))
    pods = [failed_pod("TrainerFailed"), failed_pod("PeerLost", index=1)]
    made = plan(written, *children(), batch_job_body("Failed"), *pods)
    assert made.decision is not None
    assert made.decision.delete_jobs == ()
    assert made.status.attempts[-1].number == 2


def test_the_next_attempt_is_recorded_before_it_has_children() -> None:
    made = plan(ENDED, *children())
    assert [record.number for record in made.status.attempts] == [1, 2]
    assert (made.status.phase, made.create) == ("Restarting", ())
    assert (made.status.restarts, made.status.counted_restarts) == (1, 0)
    after = plan(made.status.to_json(), *children())
    assert [child["metadata"]["name"] for child in after.create] == ["job-2", "job-2"]
    assert after.status.phase == "Starting"
    assert len(after.status.attempts) == 2


def test_a_restart_after_a_failure_is_counted_once() -> None:
    written = status("Restarting", attempt(1, "TrainerFailed"), restarts=0, countedRestarts=0)
    made = plan(written, *children(), batch_job_body("Failed"))
    assert (made.status.restarts, made.status.counted_restarts) == (1, 1)
    again = plan(made.status.to_json(), *children(), batch_job_body("Failed"))
    assert (again.status.restarts, again.status.counted_restarts) == (1, 1)


def test_children_of_the_new_attempt_from_before_a_crash_are_adopted() -> None:
    written = status("Restarting", attempt(1, "NodeLost"), attempt(2), restarts=1)
    made = plan(written, *children(), *children(2), batch_job_body(attempt=2))
    assert made.create == ()
    assert made.status.phase == "Starting"


def test_the_new_attempt_waits_for_pods_that_still_run_but_not_for_ever() -> None:
    leaving = pod_body(0, deleting=True)
    made = plan(ENDED, *children(), leaving)
    assert (len(made.status.attempts), made.requeue_after) == (1, 5.0)
    long_ago = status("Restarting", attempt(1, "NodeLost", ended_ago=121, fromStep=0, toStep=5))
    assert len(plan(long_ago, *children(), leaving).status.attempts) == 2


def test_the_delay_doubles_while_attempts_make_no_step() -> None:
    waits = []
    for number in range(1, 9):
        attempts = [attempt(n, "TrainerFailed", ended_ago=0) for n in range(1, number + 1)]
        made = plan(status("Restarting", *attempts), *children(number))
        assert len(made.status.attempts) == number
        waits.append(made.requeue_after)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


def test_the_delay_is_short_after_progress() -> None:
    fruitless = [attempt(n, "TrainerFailed", ended_ago=0) for n in range(1, 4)]
    last = attempt(4, "TrainerFailed", ended_ago=0, fromStep=3, toStep=9)
    assert plan(status("Restarting", *fruitless, last), *children(4)).requeue_after == 1.0


def test_what_has_to_change_outside_is_retried_later() -> None:
    assert plan(status("Restarting", attempt(1, "RateLimited", ended_ago=0)), *children()).requeue_after == 30.0


def told(step: int, from_step: int, number: int = 1) -> report.Progress:
    return report.Progress(
        uid="uid", attempt=number, state="Training", step=step, of=60, from_step=from_step, updated=0
    )


def test_an_attempt_records_from_where_to_where_it_came_and_what_was_lost() -> None:
    made = plan(RUNNING, *children(), batch_job_body("FailureTarget"), pod_body(0), progress=told(17, 4))
    assert (made.status.attempts[0].from_step, made.status.attempts[0].to_step) == (4, 17)
    second = status("Running", attempt(1, "NodeLost", toStep=17), attempt(2))
    pods = [pod_body(index, attempt=2) for index in range(2)]
    made = plan(second, *children(2), batch_job_body(attempt=2), *pods, progress=told(13, 12, number=2))
    assert made.status.attempts[0].lost_steps == 5
    assert made.status.attempts[1].from_step == 12


SUSPEND = {"suspend": True}


def test_a_suspended_job_is_recorded_first_and_then_loses_its_pods() -> None:
    made = plan(RUNNING, *children(), batch_job_body(), pod_body(0), pod_body(1), runPolicy=SUSPEND)
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Suspended", "Suspended")
    assert made.decision is not None
    assert made.decision.delete_jobs == ()
    after = plan(made.status.to_json(), *children(), batch_job_body(), pod_body(0), runPolicy=SUSPEND)
    assert after.decision is not None
    assert [job.metadata.name for job in after.decision.delete_jobs] == ["job-1"]
    assert after.status == made.status


def test_a_resumed_job_begins_a_new_attempt_that_is_no_restart() -> None:
    written = status("Suspended", attempt(1, "Suspended", ended_ago=0), restarts=0, countedRestarts=0)
    made = plan(written, *children())
    assert [record.number for record in made.status.attempts] == [1, 2]
    assert (made.status.restarts, made.status.counted_restarts) == (0, 0)


def test_a_resumed_job_waits_for_the_pods_that_are_still_saving() -> None:
    written = status("Suspended", attempt(1, "Suspended", ended_ago=5))
    made = plan(written, *children(), pod_body(0, deleting=True))
    assert len(made.status.attempts) == 1


def test_a_job_created_suspended_has_no_pods_until_it_is_resumed() -> None:
    made = plan({}, runPolicy=SUSPEND)
    assert (made.status.phase, made.create, made.status.attempts) == ("Suspended", (), [])
    assert made.status.start_time is None
    resumed = plan(made.status.to_json())
    assert len(resumed.create) == 3


def test_suspending_between_two_attempts_keeps_the_reason_of_the_last() -> None:
    made = plan(ENDED, *children(), runPolicy=SUSPEND)
    assert (made.status.phase, made.status.attempts[-1].reason) == ("Suspended", "NodeLost")


def test_an_intended_attempt_that_is_suspended_is_closed() -> None:
    written = status("Restarting", attempt(1, "NodeLost"), attempt(2))
    made = plan(written, *children(), runPolicy=SUSPEND)
    assert made.status.attempts[-1].reason == "Suspended"


def test_the_deadline_ends_the_job() -> None:
    policy = {"activeDeadline": "1h"}
    made = plan(RUNNING, *children(), batch_job_body(), pod_body(0), pod_body(1), runPolicy=policy)
    failed = made.status.condition("Failed")
    assert failed is not None
    assert failed.reason == "DeadlineExceeded"
    assert made.status.attempts[-1].reason == "DeadlineExceeded"


def test_the_job_is_looked_at_again_when_its_deadline_comes() -> None:
    policy = {"activeDeadline": "3h"}
    made = plan(RUNNING, *children(), batch_job_body(), pod_body(0), pod_body(1), runPolicy=policy)
    assert made.requeue_after == 3600.0


def test_pods_that_do_not_start_in_time_fail_the_job_with_what_they_wait_for() -> None:
    written = status("Starting", attempt(1))
    stuck = pod_body(1, phase="Pending", trainer={"waiting": {"reason": "ErrImagePull", "message": "no such image"}})
    objects = [*children(), batch_job_body(), pod_body(0), stuck]
    assert plan(written, *objects).status.phase == "Starting"
    made = plan(written, *objects, runPolicy={"startDeadline": "2m"})
    failed = made.status.condition("Failed")
    assert failed is not None
    assert failed.reason == "ImagePull"
    assert failed.message == "not all pods ran within 2m (runPolicy.startDeadline): no such image"


DONE = {**status("Failed", attempt(1, "UserError")), "completionTime": ago(100)}


def test_a_failed_job_loses_only_the_pods_that_still_run() -> None:
    made = plan(DONE, *children(), batch_job_body("Failed"), failed_pod("UserError"))
    assert made.decision is None
    made = plan(DONE, *children(), batch_job_body(), pod_body(0))
    assert made.decision is not None
    assert [job.metadata.name for job in made.decision.delete_jobs] == ["job-1"]


def test_all_pods_or_none_can_be_cleaned() -> None:
    made = plan(DONE, *children(), batch_job_body("Failed"), runPolicy={"cleanPods": "All"})
    assert made.decision is not None
    assert len(made.decision.delete_jobs) == 1
    assert plan(DONE, *children(), batch_job_body(), runPolicy={"cleanPods": "None"}).decision is None


def test_a_finished_job_is_deleted_after_its_time_to_live() -> None:
    made = plan(DONE, *children(), runPolicy={"ttlAfterFinished": "5m"})
    assert made.decision is not None
    assert (made.decision.delete_resource, made.requeue_after) == (False, 200.0)
    made = plan(DONE, *children(), runPolicy={"ttlAfterFinished": "90s"})
    assert made.decision is not None
    assert made.decision.delete_resource


def follow(silence: float, written: Body = RUNNING, **progress: Any) -> Plan:
    figures = told(step=9, from_step=0).model_copy(update={"step_seconds": 1.0, **progress})
    objects = [*children(), batch_job_body(), pod_body(0), pod_body(1)]
    return plan(written, *objects, progress=figures, silence=silence)


def test_a_gang_that_hangs_is_said_to_be_stalled_while_its_supervisors_may_mend_it() -> None:
    made = follow(silence=31)
    stalled = made.status.condition("Stalled")
    assert stalled is not None
    assert (made.status.phase, stalled.status) == ("Running", "True")
    assert stalled.message == "no step for 31 s after step 9; a step took 1.0 s before"
    assert [(note.type, note.reason) for note in made.events] == [("Warning", "NoProgress")]
    after = follow(silence=0, written=made.status.to_json())
    stalled = after.status.condition("Stalled")
    assert stalled is not None
    assert (stalled.status, stalled.reason, after.events) == ("False", "Progressing", ())


def test_a_gang_that_its_supervisors_do_not_mend_is_restarted() -> None:
    made = follow(silence=61)
    record = made.status.attempts[-1]
    assert (made.status.phase, record.reason, record.to_step) == ("Restarting", "Stalled", 9)
    assert record.message == "no step for 61 s after step 9; a step took 1.0 s before"


def test_slow_steps_get_ten_times_their_usual_time_and_as_much_again() -> None:
    assert follow(silence=99, step_seconds=10).status.condition("Stalled") is None
    assert follow(silence=101, step_seconds=10).status.condition("Stalled") is not None
    assert follow(silence=199, step_seconds=10).status.phase == "Running"
    assert follow(silence=201, step_seconds=10).status.phase == "Restarting"


@pytest.mark.parametrize("progress", [{"step": 0}, {"step": 60}, {"state": "Launching"}, {"step": 4, "from_step": 4}])
def test_loading_and_writing_results_is_no_hang(progress: dict[str, Any]) -> None:
    assert follow(silence=500, **progress).status.phase == "Running"


def in_place(number: int, **fields: Any) -> report.Restart:
    base = {"number": number, "time": 1767225600, "reason": "TrainerFailed", "message": "why", "completion_index": 1}
    return report.Restart.model_validate({**base, "to_step": 7, **fields})


def follow_restarts(written: Body, *restarts: report.Restart, **spec: Any) -> Plan:
    figures = told(step=9, from_step=0).model_copy(update={"restarts": list(restarts)})
    return plan(written, *children(), batch_job_body(), pod_body(0), pod_body(1), progress=figures, **spec)


def test_a_restart_in_place_is_recorded_and_counted_once() -> None:
    made = follow_restarts(RUNNING, in_place(1))
    (record,) = made.status.attempts[-1].restarts_in_place or []
    assert (record.number, record.reason, record.pod, record.to_step) == (1, "TrainerFailed", "job-1-1-abcde", 7)
    assert (made.status.phase, made.status.restarts, made.status.counted_restarts) == ("Running", 1, 1)
    assert [note.message for note in made.events] == ["restarted in place: why"]
    again = follow_restarts(made.status.to_json(), in_place(1, from_step=4))
    (record,) = again.status.attempts[-1].restarts_in_place or []
    assert (record.from_step, record.lost_steps) == (4, 3)
    assert (again.status.restarts, again.status.counted_restarts, again.events) == (1, 1, ())


def test_a_record_outlives_an_operator_that_has_heard_nothing_yet() -> None:
    written = follow_restarts(RUNNING, in_place(1)).status
    made = plan(written.to_json(), *children(), batch_job_body(), pod_body(0), pod_body(1))
    assert made.status == written


def test_restarts_that_nobody_told_of_are_counted_when_the_pods_end() -> None:
    made = fail("TrainerFailed", restarts=2)
    assert [restart.number for restart in made.status.attempts[-1].restarts_in_place or []] == [1, 2]
    assert (made.status.phase, made.status.counted_restarts) == ("Restarting", 2)


def test_restarts_in_place_spend_the_same_budget_as_attempts() -> None:
    made = fail("TrainerFailed", restarts=3)
    failed = made.status.condition("Failed")
    assert failed is not None
    assert "given up after 3 restarts (runPolicy.maxRestarts)" in failed.message
    (config_map,) = [
        child
        for child in plan(status("Restarting", attempt(2), countedRestarts=1, restarts=1)).create
        if child["kind"] == "ConfigMap"
    ]
    assert json.loads(config_map["data"]["job.json"])["maxRestartsInPlace"] == 2


def test_a_pod_cannot_fill_the_status_with_restarts() -> None:
    made = follow_restarts(RUNNING, in_place(9_999), runPolicy={"maxRestarts": 100})
    assert [restart.number for restart in made.status.attempts[-1].restarts_in_place or []] == list(range(81, 101))


def test_restarts_that_were_not_told_in_time_have_the_reasons_that_pod_0_left() -> None:
    first = failed_pod("HostOutOfMemory", restarts=2, restartReasons=["LauncherVanished", "HostOutOfMemory"])
    made = plan(RUNNING, *children(), batch_job_body("FailureTarget"), first, failed_pod("PeerLost", index=1))
    told = made.status.attempts[0].restarts_in_place
    assert told is not None
    assert [restart.reason for restart in told] == ["LauncherVanished", "HostOutOfMemory"]
    assert [note.reason for note in made.events] == ["LauncherVanished", "HostOutOfMemory", "HostOutOfMemory"]


def test_a_suspended_job_knows_how_far_its_pods_came_before_they_stopped() -> None:
    words = {"outcome": "Failed", "reason": "Stopped", "message": "asked", "step": 5, "of": 9, "fromStep": 0}
    stopped = pod_body(0, trainer=ended(143, words), phase="Failed", deleting=True)
    suspended = attempt(reason="Suspended", fromStep=0, toStep=3)
    progress = {"step": 3, "of": 9, "position": "3/9"}
    written = status("Suspended", suspended, progress=progress, pausedSince=ago(5))
    made = plan(written, *children(), stopped, runPolicy={"suspend": True})
    assert made.status.attempts[0].to_step == 5
    assert made.status.progress is not None
    assert (made.status.progress.position, made.status.progress.last_checkpoint_step) == ("5/9", 5)


def test_a_deleted_pod_that_is_gone_already_is_the_cause_all_the_same() -> None:
    words = {"outcome": "Failed", "reason": "Stopped", "message": "asked to stop", "step": 5, "of": 9}
    gone = pod_body(1, trainer=ended(143, words), phase="Failed", deletion_requested_at=ago(3))
    left = pod_body(0, trainer=ended(143, words), phase="Failed", deletion_requested_at=ago(1))
    made = plan(RUNNING, *children(), batch_job_body("FailureTarget"), left, gone=[gone])
    record = made.status.attempts[0]
    assert (record.reason, record.pod, record.to_step) == ("PodLost", "job-1-1-abcde", 5)


def test_a_pod_that_a_queue_has_taken_before_is_no_cause() -> None:
    gone = pod_body(1, trainer=ended(143), phase="Failed", deletion_requested_at=ago(500))
    made = plan(RUNNING, *children(), batch_job_body("FailureTarget"), failed_pod("PeerLost"), gone=[gone])
    assert made.status.attempts[0].reason == "PeerLost"
