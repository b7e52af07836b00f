"""A job whose attempts fail, with pods that end as the test says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import job_body
from qlora_api import names
from qlora_operator.views import CONFIG_MAP, POD, QLORA_JOB
from support.audit import read_audit_log, tally
from support.control_plane import OPERATOR
from support.jobs import JobDriver
from support.processes import wait_until

pytestmark = pytest.mark.usefixtures("operator")

CRASH = {"outcome": "Failed", "reason": "TrainerFailed", "message": "KeyError: 'x'", "step": 7, "of": 60, "fromStep": 0}


def running_pods(driver: JobDriver, attempt: int) -> list[dict[str, Any]]:
    def probe() -> list[dict[str, Any]]:
        pods = [pod for pod in driver.pods("job") if pod["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempt)]
        return pods if len(pods) == 2 and all(pod["status"].get("phase") == "Running" for pod in pods) else []

    return wait_until(f"pods of attempt {attempt}", probe)


def patch(driver: JobDriver, spec: dict[str, Any]) -> None:
    driver.kubectl("patch", "qlorajob", "job", "--type=merge", "-p", json.dumps({"spec": spec}))


def test_a_crashed_attempt_is_followed_by_another_and_its_pods_stay_for_their_logs(driver: JobDriver) -> None:
    driver.apply(job_body())
    pods = driver.wait_for_pods("job", 2)
    driver.wait_for_phase("job", "Running")
    driver.end_pod(pods[1], exit_code=1, message=CRASH)
    running_pods(driver, attempt=2)
    status = driver.wait_for_phase("job", "Running")
    first, second = status["attempts"]
    assert (first["reason"], first["toStep"], first["pod"]) == ("TrainerFailed", 7, pods[1]["metadata"]["name"])
    assert second["number"] == 2
    assert (status["restarts"], status["countedRestarts"]) == (1, 1)
    assert driver.get(POD, pods[1]["metadata"]["name"])["status"]["phase"] == "Failed"
    hostfile = driver.get(CONFIG_MAP, "job-2")["data"]["hostfile"]
    assert hostfile == "job-2-0.job slots=1\njob-2-1.job slots=1\n"


def test_a_job_gives_up_after_its_restarts(driver: JobDriver) -> None:
    driver.apply(job_body(runPolicy={"maxRestarts": 1}))
    for attempt in (1, 2):
        driver.end_pod(running_pods(driver, attempt)[0], exit_code=1, message=CRASH)
    status = driver.wait_for_phase("job", "Failed")
    (failed,) = [condition for condition in status["conditions"] if condition["type"] == "Failed"]
    assert failed["message"] == "KeyError: 'x'; given up after 1 restart (runPolicy.maxRestarts)"
    assert len(status["attempts"]) == 2


def test_a_deleted_pod_is_a_disruption_and_the_whole_gang_comes_back(driver: JobDriver) -> None:
    driver.apply(job_body(runPolicy={"maxRestarts": 0}))
    pods = driver.wait_for_pods("job", 2)
    driver.wait_for_phase("job", "Running")
    driver.kubectl("delete", "pod", pods[0]["metadata"]["name"])
    running_pods(driver, attempt=2)
    status = driver.wait_for_phase("job", "Running")
    assert status["attempts"][0]["reason"] == "PodLost"
    assert (status["restarts"], status["countedRestarts"]) == (1, 0)


def test_a_deleted_batch_job_is_a_disruption(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    driver.kubectl("delete", "job", "job-1")
    running_pods(driver, attempt=2)
    assert driver.wait_for_phase("job", "Running")["attempts"][0]["reason"] == "PodLost"


def test_a_job_on_a_lost_node_goes_on_elsewhere(driver: JobDriver) -> None:
    driver.apply(job_body())
    pods = driver.wait_for_pods("job", 2)
    driver.wait_for_phase("job", "Running")
    node = pods[0]["spec"]["nodeName"]
    driver.lose_node(node)
    try:
        running_pods(driver, attempt=2)
        status = driver.wait_for_phase("job", "Running")
        assert (status["attempts"][0]["reason"], status["attempts"][0]["node"]) == ("NodeLost", node)
        assert node not in {pod["spec"]["nodeName"] for pod in running_pods(driver, attempt=2)}
        first = {pod["metadata"]["uid"] for pod in pods}
        wait_until("old pods gone", lambda: not first & {pod["metadata"]["uid"] for pod in driver.pods("job")})
    finally:
        driver.bring_node_back(node)


def test_a_suspended_job_gives_its_pods_back_and_resumes_as_a_new_attempt(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    patch(driver, {"runPolicy": {"suspend": True}})
    driver.wait_for_phase("job", "Suspended")
    wait_until("no pods", lambda: driver.pods("job") == [])
    patch(driver, {"runPolicy": {"suspend": False}})
    running_pods(driver, attempt=2)
    status = driver.wait_for_phase("job", "Running")
    assert (status["restarts"], status["attempts"][0]["reason"]) == (0, "Suspended")


def test_a_job_that_is_created_suspended_makes_nothing(driver: JobDriver) -> None:
    driver.apply(job_body(runPolicy={"suspend": True}))
    driver.wait_for_phase("job", "Suspended")
    requests = [r for r in read_audit_log(driver.cluster.audit_log, OPERATOR) if r.namespace == driver.namespace]
    assert set(tally(requests)) == {"patch qlorajobs/status", "create events"}


def test_a_finished_job_is_deleted_after_its_time_to_live(driver: JobDriver) -> None:
    driver.apply(job_body(runPolicy={"ttlAfterFinished": "3s"}))
    for pod in driver.wait_for_pods("job", 2):
        driver.end_pod(pod, message={"outcome": "Succeeded", "step": 1, "of": 1})
    driver.wait_for_phase("job", "Succeeded")
    wait_until("the job is gone", lambda: driver.objects(QLORA_JOB) == [])


def test_a_job_that_takes_too_long_fails_and_its_pods_go(driver: JobDriver) -> None:
    driver.apply(job_body(runPolicy={"activeDeadline": "4s"}))
    status = driver.wait_for_phase("job", "Failed")
    assert status["attempts"][0]["reason"] == "DeadlineExceeded"
    wait_until("no pods", lambda: driver.pods("job") == [])


def test_pods_that_cannot_start_fail_the_job_in_time(driver: JobDriver) -> None:
    node = {"accelerator": "example.com/none"}
    driver.apply(job_body(node=node, runPolicy={"startDeadline": "4s"}))
    status = driver.wait_for_phase("job", "Failed")
    assert status["attempts"][0]["reason"] == "Unschedulable"
    wait_until("no pods", lambda: driver.pods("job") == [])
