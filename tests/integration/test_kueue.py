"""Jobs in the queues of a real Kueue: admitted within their quota, preempted, and admitted again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from builders import job_body
from qlora_api import names
from qlora_operator.views import JOB, WORKLOAD
from support.audit import read_audit_log
from support.control_plane import OPERATOR, ControlPlane
from support.jobs import MERGE_PATCH, JobDriver
from support.kubectl import ROOT
from support.kueue import Kueue
from support.operator_process import Operator
from support.processes import wait_until

pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.timeout(180)]

Body = dict[str, Any]
API_VERSION = "kueue.x-k8s.io/v1beta2"
QUEUE = "team"
DONE = {"outcome": "Succeeded", "message": "trained 60 steps", "step": 60, "of": 60, "loss": 0.5, "fromStep": 0}
CRASH = {"outcome": "Failed", "reason": "TrainerFailed", "message": "KeyError: 'x'", "step": 7, "of": 60, "fromStep": 0}
STOPPED = {"outcome": "Failed", "reason": "Stopped", "message": "asked to stop", "step": 7, "of": 60, "fromStep": 0}
EXAMPLE = ROOT / "examples" / "kueue"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def kueue(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    kueue = Kueue(control_plane, tmp_path_factory.mktemp("kueue"))
    try:
        kueue.start()
        flavor = {"apiVersion": API_VERSION, "kind": "ResourceFlavor", "metadata": {"name": "default"}, "spec": {}}
        classes = [priority_class(name, value) for name, value in (("low", 1), ("high", 100))]
        control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([flavor, *classes]))
        yield kueue
    finally:
        kueue.stop()


@pytest.fixture
def queue(kueue: Kueue, driver: JobDriver) -> str:
    """A LocalQueue whose ClusterQueue has room for one job of two nodes, each with a processor."""
    create_queue(driver, QUEUE, cpu=2)
    return QUEUE


def priority_class(name: str, value: int) -> Body:
    return {"apiVersion": API_VERSION, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value}


def create_queue(driver: JobDriver, name: str, cpu: int) -> None:
    cluster_queue = f"{driver.namespace}-{name}"
    flavor = {"name": "default", "resources": [{"name": "cpu", "nominalQuota": cpu}]}
    cluster_spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [flavor]}],
    }
    metadata = {"name": name, "namespace": driver.namespace}
    manifests = [
        {"kind": "ClusterQueue", "metadata": {"name": cluster_queue}, "spec": cluster_spec},
        {"kind": "LocalQueue", "metadata": metadata, "spec": {"clusterQueue": cluster_queue}},
    ]
    text = yaml.safe_dump_all({"apiVersion": API_VERSION, **manifest} for manifest in manifests)
    driver.kubectl("apply", "-f", "-", input=text)


def queued(name: str, queue: str = QUEUE, **spec: Any) -> Body:
    node = {"accelerator": "cpu", "resources": {"cpu": "1"}}
    output = {"destination": f"pvc://results/{name}"}
    return job_body(name, node=node, output=output, queueName=queue, **spec)


def message(status: Body) -> str:
    return next((c["message"] for c in status.get("conditions", []) if c["type"] == "Running"), "")


def wait_for_message(driver: JobDriver, name: str, words: str) -> Body:
    return driver.wait_for(name, words, lambda status: words in message(status), timeout=PATIENCE)


def run(driver: JobDriver, name: str, **spec: Any) -> Body:
    driver.apply(queued(name, **spec))
    return driver.wait_for_phase(name, "Running", timeout=PATIENCE)


def succeed(driver: JobDriver, name: str) -> Body:
    for pod in driver.wait_for_pods(name, 2):
        driver.end_pod(pod, message=DONE)
    return driver.wait_for_phase(name, "Succeeded", timeout=PATIENCE)


def patch(driver: JobDriver, name: str, spec: Body) -> None:
    driver.kubectl("patch", "qlorajob", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def set_stop_policy(driver: JobDriver, policy: str) -> None:
    """HoldAndDrain: the ClusterQueue takes back what it has admitted; None: it admits again."""
    patch = json.dumps({"spec": {"stopPolicy": policy}})
    driver.kubectl("patch", f"clusterqueue/{driver.namespace}-{QUEUE}", "--type=merge", "-p", patch)


def workload_of(driver: JobDriver, job: str) -> Body:
    """The Workload of a Job; empty until Kueue has made it, which is a moment after the Job."""
    uid = driver.get(JOB, job)["metadata"]["uid"]
    found = driver.objects(WORKLOAD, f"kueue.x-k8s.io/job-uid={uid}")
    return found[0] if found else {}


def wait_for_workload(driver: JobDriver, job: str, condition: str) -> Body:
    """The Workload of a Job once the condition is true of it."""

    def probe() -> Body:
        workload = workload_of(driver, job)
        return workload if is_true(workload, condition) else {}

    return wait_until(f"Workload of {job}: {condition}", probe, timeout=PATIENCE)


def is_true(workload: Body, type_: str) -> bool:
    conditions = workload.get("status", {}).get("conditions", [])
    return any(c["type"] == type_ and c["status"] == "True" for c in conditions)


def test_the_queue_of_the_job_admits_it(driver: JobDriver, queue: str) -> None:
    run(driver, "job", priorityClass="low")
    workload = wait_for_workload(driver, "job-1", "Admitted")
    assert workload["spec"]["queueName"] == queue
    assert workload["spec"]["priority"] == 1
    assert workload["status"]["admission"]["clusterQueue"] == f"{driver.namespace}-{queue}"
    status = succeed(driver, "job")
    assert [(record["number"], record["reason"]) for record in status["attempts"]] == [(1, "Succeeded")]
    wait_for_workload(driver, "job-1", "Finished")


def test_the_quota_holds_a_second_job_back_until_the_first_is_done(driver: JobDriver, queue: str) -> None:
    run(driver, "first")
    driver.apply(queued("second"))
    status = wait_for_message(driver, "second", "insufficient unused quota for cpu")
    assert status["phase"] == "Queued"
    assert f"waiting for queue {queue} to admit Job second-1" in message(status)
    assert driver.pods("second") == []
    succeed(driver, "first")
    status = driver.wait_for_phase("second", "Running", timeout=PATIENCE)
    assert status["attempts"][0]["startTime"] >= status["startTime"]
    succeed(driver, "second")


def test_preemption_interrupts_a_job_which_later_goes_on_in_the_same_batch_job(driver: JobDriver, queue: str) -> None:
    no_failure = {"maxRestarts": 0, "maxDisruptions": 0}
    run(driver, "low", priorityClass="low", runPolicy=no_failure)
    before = driver.get(JOB, "low-1")["metadata"]["uid"]
    pods = {pod["metadata"]["uid"] for pod in driver.pods("low")}
    driver.apply(queued("high", priorityClass="high"))
    status = driver.wait_for_phase("low", "Queued", timeout=PATIENCE)
    (record,) = status["attempts"]
    assert record["reason"] == "Requeued"
    assert "Preempted to accommodate a workload" in record["message"]
    driver.wait_for_phase("high", "Running", timeout=PATIENCE)
    wait_until("no pods", lambda: driver.pods("low") == [])
    wait_for_message(driver, "low", "insufficient unused quota for cpu")
    succeed(driver, "high")
    status = driver.wait_for_phase("low", "Running", timeout=PATIENCE)
    assert [record["number"] for record in status["attempts"]] == [1, 1]
    assert (status["restarts"], status["countedRestarts"]) == (0, 0)
    assert status["pausedSeconds"] >= 0
    assert driver.get(JOB, "low-1")["metadata"]["uid"] == before
    assert not pods & {pod["metadata"]["uid"] for pod in driver.pods("low")}
    succeed(driver, "low")


def test_a_preempted_job_keeps_its_place_in_the_queue(driver: JobDriver, queue: str) -> None:
    run(driver, "early", priorityClass="low")
    time.sleep(1.1)  # a place is a time of creation, which has whole seconds
    driver.apply(queued("late", priorityClass="low"))
    driver.wait_for_phase("late", "Queued")
    run(driver, "high", priorityClass="high")
    driver.wait_for_phase("early", "Queued", timeout=PATIENCE)
    succeed(driver, "high")
    driver.wait_for_phase("early", "Running", timeout=PATIENCE)
    assert driver.status("late")["phase"] == "Queued"
    succeed(driver, "early")
    driver.wait_for_phase("late", "Running", timeout=PATIENCE)


def test_an_operator_that_was_away_understands_what_kueue_did_meanwhile(
    operator: Operator, driver: JobDriver, queue: str
) -> None:
    run(driver, "job", priorityClass="low")
    with operator.away():
        set_stop_policy(driver, "HoldAndDrain")
        wait_until("no pods", lambda: driver.pods("job") == [], timeout=PATIENCE)
    assert driver.wait_for_phase("job", "Queued")["attempts"][0]["reason"] == "Requeued"
    with operator.away():
        set_stop_policy(driver, "None")
        driver.wait_for_pods("job", 2)
    status = driver.wait_for_phase("job", "Running")
    assert ([record["number"] for record in status["attempts"]], status["restarts"]) == ([1, 1], 0)


def test_pods_that_stop_before_the_job_controller_comes_to_them_cost_the_place_but_nothing_else(
    operator: Operator, control_plane: ControlPlane, driver: JobDriver, queue: str
) -> None:
    """In a large gang the first pods that are deleted stop the others, whose end the Job then counts as a failure.

    Kueue has taken away the Job's start time, without which the Job cannot fail: it keeps its place in the queue. Which
    of the two the Job controller sees first is a race, so its verdict is written here, as it was seen to write it.
    """
    run(driver, "job", runPolicy={"maxRestarts": 0, "maxDisruptions": 0})
    with operator.away(), control_plane.frozen("kube-controller-manager"):
        set_stop_policy(driver, "HoldAndDrain")
        wait_until("suspended Job", lambda: driver.get(JOB, "job-1")["spec"]["suspend"], timeout=PATIENCE)
        for pod in driver.pods("job"):
            driver.end_pod(pod, exit_code=143, message=STOPPED)
        verdict = {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded", "message": "limit"}
        status = {"conditions": [verdict], "failed": 2, "active": 0, "ready": 0}
        driver.patch_status(JOB, "job-1", status, MERGE_PATCH)
    wait_until("Job 2 alone", lambda: [job["metadata"]["name"] for job in driver.objects(JOB)] == ["job-2"])
    assert driver.wait_for_phase("job", "Queued")["attempts"][-1]["number"] == 2
    set_stop_policy(driver, "None")
    status = driver.wait_for_phase("job", "Running", timeout=PATIENCE)
    first, second = status["attempts"]
    assert (first["reason"], first["toStep"], second["number"], status["restarts"]) == ("Requeued", 7, 2, 0)


def test_a_queue_that_does_not_exist_is_named_and_can_be_corrected(driver: JobDriver, queue: str) -> None:
    driver.apply(queued("job", queue="missing"))
    status = wait_for_message(driver, "job", "LocalQueue missing doesn't exist")
    assert status["phase"] == "Queued"
    patch(driver, "job", {"queueName": queue})
    status = driver.wait_for_phase("job", "Running", timeout=PATIENCE)
    assert [record["number"] for record in status["attempts"]] == [1, 2]
    assert status["restarts"] == 0


def test_a_queue_name_cannot_be_removed_while_the_job_is_queued(driver: JobDriver, queue: str) -> None:
    driver.apply(queued("job", queue="missing"))
    driver.wait_for_phase("job", "Queued")
    body = queued("job")
    del body["spec"]["queueName"]
    assert "spec.queueName cannot be removed while the job is queued" in driver.try_apply(body).stderr


def test_a_job_that_its_user_suspends_gives_its_quota_back(driver: JobDriver, queue: str) -> None:
    run(driver, "first")
    driver.apply(queued("second"))
    driver.wait_for_phase("second", "Queued")
    patch(driver, "first", {"runPolicy": {"suspend": True}})
    driver.wait_for_phase("first", "Suspended")
    driver.wait_for_phase("second", "Running", timeout=PATIENCE)
    patch(driver, "first", {"runPolicy": {"suspend": False}})
    driver.wait_for_phase("first", "Queued", timeout=PATIENCE)
    succeed(driver, "second")
    status = driver.wait_for_phase("first", "Running", timeout=PATIENCE)
    assert [record["number"] for record in status["attempts"]] == [1, 2]


def test_a_new_attempt_after_a_crash_is_admitted_anew(driver: JobDriver, queue: str) -> None:
    run(driver, "job")
    driver.end_pod(driver.pods("job")[1], exit_code=1, message=CRASH)
    wait_until(
        "pods of attempt 2",
        lambda: [p for p in driver.pods("job") if p["metadata"]["labels"][names.LABEL_ATTEMPT] == "2"],
        timeout=PATIENCE,
    )
    status = driver.wait_for_phase("job", "Running", timeout=PATIENCE)
    wait_for_workload(driver, "job-2", "Admitted")
    assert (status["restarts"], status["countedRestarts"]) == (1, 1)


@pytest.mark.usefixtures("kueue")
def test_the_example_is_admitted(control_plane: ControlPlane) -> None:
    teams = ("team-a", "team-b")
    for team in teams:
        control_plane.kubectl("create", "namespace", team)
    try:
        control_plane.kubectl("apply", "-f", str(EXAMPLE / "queues.yaml"))
        driver = JobDriver(control_plane, "team-a")
        driver.apply(yaml.safe_load((EXAMPLE / "job.yaml").read_text()))
        wait_for_workload(driver, "support-bot-1", "Admitted")
        driver.wait_for_phase("support-bot", "Starting", timeout=PATIENCE)
    finally:
        control_plane.kubectl("delete", "namespace", *teams, "--wait=false")


def test_a_job_without_a_queue_is_none_of_kueues_business(driver: JobDriver, queue: str) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    assert driver.objects(WORKLOAD) == []


def test_the_operator_may_ask_why_a_job_waits_and_asks_seldom(driver: JobDriver, queue: str) -> None:
    driver.apply(queued("job", queue="missing"))
    wait_for_message(driver, "job", "LocalQueue missing doesn't exist")
    asked = [r for r in read_audit_log(driver.cluster.audit_log, OPERATOR) if r.resource == "workloads"]
    assert {request.code for request in asked} == {200}
    assert 1 <= len([request for request in asked if request.namespace == driver.namespace]) <= 4
