"""A job from apply to its end, with pods that end as the test says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import job_body
from qlora_api import names
from qlora_operator.views import CONFIG_MAP, JOB, QLORA_JOB, SERVICE
from support.audit import read_audit_log, tally
from support.control_plane import OPERATOR
from support.jobs import EVENT, QUOTA, JobDriver
from support.processes import wait_until

pytestmark = pytest.mark.usefixtures("operator")

LAST_WORDS = {
    "outcome": "Succeeded",
    "message": "trained 60 steps",
    "step": 60,
    "of": 60,
    "loss": 0.51234,
    "fromStep": 0,
}


def succeed(driver: JobDriver, name: str, nodes: int = 2) -> dict[str, Any]:
    for pod in driver.wait_for_pods(name, nodes):
        driver.end_pod(pod, message=LAST_WORDS)
    return driver.wait_for_phase(name, "Succeeded")


def condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in status["conditions"] if c["type"] == type_)
    return found


def test_an_applied_job_runs_and_succeeds(driver: JobDriver) -> None:
    driver.apply(job_body())
    status = driver.wait_for_phase("job", "Running")
    assert condition(status, "Accepted")["status"] == "True"
    assert condition(status, "Running")["status"] == "True"
    status = succeed(driver, "job")
    last = status["attempts"][-1]["lastStepTime"]
    assert status["progress"] == {
        "step": 60, "of": 60, "position": "60/60", "loss": 0.5123, "lastStepTime": last,
    }  # fmt: skip
    assert status["output"] == {"adapter": "pvc://results/out/adapter"}
    assert status["observedGeneration"] == 1
    (attempt,) = status["attempts"]
    assert (attempt["number"], attempt["reason"], attempt["fromStep"], attempt["toStep"]) == (1, "Succeeded", 0, 60)


def test_pods_get_hostfile_and_job_file(driver: JobDriver) -> None:
    driver.apply(job_body(nodes=4))
    driver.wait_for_pods("job", 4)
    data = driver.get(CONFIG_MAP, "job-1")["data"]
    assert data["hostfile"] == "".join(f"job-1-{index}.job slots=1\n" for index in range(4))
    job_file = json.loads(data["job.json"])
    assert job_file["uid"] == driver.get(QLORA_JOB, "job")["metadata"]["uid"]
    assert [pod["spec"]["hostname"] for pod in driver.pods("job")] == [f"job-1-{index}" for index in range(4)]


def test_kubectl_get_shows_phase_step_and_loss(driver: JobDriver) -> None:
    driver.apply(job_body())
    succeed(driver, "job")
    header, row = driver.kubectl("get", "qj").splitlines()
    assert header.split() == ["NAME", "PHASE", "STEP", "LOSS", "ETA", "RESTARTS", "NODES", "AGE"]
    assert row.split()[:4] == ["job", "Succeeded", "60/60", "0.5123"]


@pytest.mark.parametrize(
    ("container", "words", "reason"),
    [
        (
            names.INIT_CONTAINER,
            {"outcome": "Failed", "reason": "DatasetInvalid", "message": "train.jsonl line 7: no field messages"},
            "DatasetInvalid",
        ),
        (
            names.TRAINER_CONTAINER,
            {
                "outcome": "Failed",
                "reason": "LossDiverged",
                "message": "the loss is NaN at step 12",
                "step": 12,
                "of": 60,
            },
            "LossDiverged",
        ),
    ],
)
def test_a_failed_pod_fails_the_job_with_its_own_words(
    driver: JobDriver, container: str, words: dict[str, Any], reason: str
) -> None:
    driver.apply(job_body())
    pods = driver.wait_for_pods("job", 2)
    driver.end_pod(pods[1], exit_code=1, message=words, container=container)
    status = driver.wait_for_phase("job", "Failed")
    failed = condition(status, "Failed")
    assert (failed["reason"], failed["message"]) == (reason, words["message"])
    assert status["attempts"][0]["pod"] == pods[1]["metadata"]["name"]
    assert len(driver.objects(JOB)) == 1, "nothing is retried"


def test_a_container_without_last_words_is_told_by_its_exit(driver: JobDriver) -> None:
    driver.apply(job_body(runPolicy={"maxRestarts": 0}))
    pods = driver.wait_for_pods("job", 2)
    driver.end_pod(pods[0], exit_code=137, reason="OOMKilled")
    status = driver.wait_for_phase("job", "Failed")
    assert condition(status, "Failed")["reason"] == "HostOutOfMemory"
    assert "node.resources.memory" in condition(status, "Failed")["message"]


def test_the_end_of_a_job_is_an_event(driver: JobDriver) -> None:
    driver.apply(job_body())
    succeed(driver, "job")
    wait_until("event", lambda: "Succeeded" in driver.kubectl("get", "events", "-o", "name", "-o", "wide"))
    assert "trained 60 steps" in driver.kubectl("describe", "qlorajob", "job")


def test_an_unschedulable_job_says_what_the_scheduler_says(driver: JobDriver) -> None:
    node = {"accelerator": "example.com/none"}
    driver.apply(job_body(node=node))
    status = driver.wait_for(
        "job", "Unschedulable", lambda s: s and condition(s, "Running")["reason"] == "Unschedulable"
    )
    assert "Insufficient example.com/none" in condition(status, "Running")["message"]
    assert status["phase"] == "Starting"


def test_a_deleted_child_is_created_again_while_the_job_runs(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    before = driver.get(CONFIG_MAP, "job-1")["data"]
    driver.kubectl("delete", "service/job", "configmap/job-1")
    wait_until("children", lambda: driver.get(SERVICE, "job") and driver.get(CONFIG_MAP, "job-1"))
    assert driver.get(CONFIG_MAP, "job-1")["data"] == before
    succeed(driver, "job")


@pytest.mark.parametrize("phase", ["Starting", "Running", "Suspended", "Failed", "Succeeded"])
def test_deleting_a_job_removes_what_it_made(driver: JobDriver, phase: str) -> None:
    never = {"accelerator": "example.com/none"} if phase == "Starting" else {}
    driver.apply(job_body(node=never, runPolicy={"maxRestarts": 0}))
    if phase == "Suspended":
        driver.wait_for_phase("job", "Running")
        driver.kubectl("patch", "qlorajob", "job", "--type=merge", "-p", '{"spec": {"runPolicy": {"suspend": true}}}')
    if phase == "Failed":
        driver.end_pod(driver.wait_for_pods("job", 2)[0], exit_code=1)
    if phase == "Succeeded":
        succeed(driver, "job")
    driver.wait_for_phase("job", phase)
    driver.kubectl("delete", "qlorajob", "job")
    wait_until("an empty namespace", lambda: driver.kubectl("get", "jobs,pods,services,configmaps", "-l",
                                                             f"{names.LABEL_JOB}=job", "-o", "name") == "")  # fmt: skip


def test_a_job_created_anew_under_the_same_name_is_a_new_job(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    first = {pod["metadata"]["uid"] for pod in driver.pods("job")}
    driver.kubectl("delete", "qlorajob", "job")
    driver.apply(job_body())
    wait_until("new pods", lambda: not first & {pod["metadata"]["uid"] for pod in driver.wait_for_pods("job", 2)})
    assert succeed(driver, "job")["attempts"][0]["number"] == 1
    assert "NameConflict" not in driver.kubectl("get", "events"), "what the first has left is not somebody else's"


def test_a_foreign_object_of_a_childs_name_is_reported_and_left_alone(driver: JobDriver) -> None:
    driver.kubectl("create", "configmap", "job-1", "--from-literal=mine=yes")
    driver.apply(job_body())
    status = driver.wait_for("job", "NameConflict", lambda s: s and condition(s, "Accepted")["status"] == "False")
    assert condition(status, "Accepted")["reason"] == "NameConflict"
    assert "ConfigMap job-1 exists and belongs to something else" in condition(status, "Accepted")["message"]
    assert driver.get(CONFIG_MAP, "job-1")["data"] == {"mine": "yes"}
    wait_until("no Service", lambda: driver.objects(SERVICE) == [])
    wait_until("no pods", lambda: driver.pods("job") == [])


def test_a_refused_job_is_tried_once_and_then_only_rehearsed(driver: JobDriver) -> None:
    driver.kubectl("create", "configmap", "job-1", "--from-literal=mine=yes")
    driver.apply(job_body())
    driver.wait_for("job", "NameConflict", lambda s: s and condition(s, "Accepted")["status"] == "False")
    driver.kubectl("patch", "qlorajob", "job", "--type=merge", "-p", '{"spec": {"runPolicy": {"maxRestarts": 1}}}')
    driver.wait_for("job", "a second look", lambda s: s["observedGeneration"] == 2)
    wait_until("no pods", lambda: driver.pods("job") == [])
    log = [r for r in read_audit_log(driver.cluster.audit_log, OPERATOR) if r.namespace == driver.namespace]
    made = tally([request for request in log if request.is_write and request.code < 300])
    assert (made["create jobs"], made["delete jobs"], made["create services"], made["delete services"]) == (1, 1, 1, 1)
    assert any(request.dry_run for request in log)


def test_quota_is_told_and_the_job_starts_when_it_is_raised(driver: JobDriver) -> None:
    driver.kubectl("create", "quota", "none", "--hard=count/jobs.batch=0")
    wait_until("quota", lambda: driver.get(QUOTA, "none").get("status", {}).get("hard"))
    driver.apply(job_body())
    driver.wait_for("job", "QuotaExceeded", lambda s: s and condition(s, "Accepted")["reason"] == "QuotaExceeded")
    driver.kubectl("delete", "quota", "none")
    driver.wait_for_phase("job", "Running", timeout=60)


def test_a_job_costs_at_most_seven_requests(driver: JobDriver) -> None:
    driver.apply(job_body(nodes=4))
    driver.wait_for_phase("job", "Running")
    succeed(driver, "job", nodes=4)
    wait_until("event", lambda: [e for e in driver.objects(EVENT) if e["involvedObject"]["kind"] == names.KIND])

    def requests() -> dict[str, int]:
        log = read_audit_log(driver.cluster.audit_log, OPERATOR)
        return tally([request for request in log if request.namespace == driver.namespace])

    assert requests() == {
        "create services": 1,
        "create configmaps": 1,
        "create jobs": 1,
        "patch qlorajobs/status": 3,
        "create events": 1,
    }
