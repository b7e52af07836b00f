"""What the running operator tells Prometheus, compared with what the API server saw."""

from __future__ import annotations

import time

import pytest

from builders import job_body
from support.audit import read_audit_log
from support.control_plane import OPERATOR
from support.jobs import JobDriver
from support.operator_process import Operator
from support.processes import wait_until
from support.talking_pods import first_pod_talks

LAST_WORDS = {"outcome": "Succeeded", "message": "trained 60 steps", "step": 60, "of": 60, "fromStep": 0}
METHODS = {"create": "POST", "patch": "PATCH", "delete": "DELETE"}


def test_requests_are_counted_as_the_api_server_saw_them(operator: Operator, driver: JobDriver) -> None:
    before = operator.metrics()
    driver.apply(job_body())
    for pod in driver.wait_for_pods("job", 2):
        driver.end_pod(pod, message=LAST_WORDS)
    driver.wait_for_phase("job", "Succeeded")

    def seen() -> dict[str, float]:
        result: dict[str, float] = {}
        for request in read_audit_log(driver.cluster.audit_log, OPERATOR):
            if request.is_write and request.namespace == driver.namespace:
                resource = request.resource.partition("/")[0]
                labels = f'code="{request.code}",resource="{resource}",verb="{METHODS[request.verb]}"'
                name = f"qlora_operator_api_requests_total{{{labels}}}"
                result[name] = result.get(name, 0) + 1
        return result

    wait_until("the last Event", lambda: any('resource="events"' in name for name in seen()))

    def counted() -> dict[str, float]:
        after = operator.metrics()
        return {name: after[name] - before.get(name, 0) for name in seen()}

    wait_until(f"the same figures: {seen()}", lambda: counted() == seen())


def test_jobs_are_counted_by_phase_and_by_their_end(operator: Operator, driver: JobDriver) -> None:
    running, done = 'qlora_operator_jobs{phase="Running"}', 'qlora_operator_jobs{phase="Succeeded"}'
    ends = 'qlora_operator_jobs_finished_total{phase="Succeeded",reason="Succeeded"}'
    before = operator.metrics()
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    wait_until("one more runs", lambda: operator.metrics()[running] == before[running] + 1)
    for pod in driver.pods("job"):
        driver.end_pod(pod, message=LAST_WORDS)
    driver.wait_for_phase("job", "Succeeded")
    wait_until("one more is done", lambda: operator.metrics()[done] == before[done] + 1)
    after = operator.metrics()
    assert after[running] == before[running]
    assert after[ends] == before[ends] + 1
    assert after["qlora_operator_reconcile_seconds_count"] > before["qlora_operator_reconcile_seconds_count"]


def test_a_restart_and_what_it_cost_are_counted_under_its_reason(operator: Operator, driver: JobDriver) -> None:
    restarts = 'qlora_operator_restarts_total{kind="attempt",reason="TrainerFailed"}'
    down = 'qlora_operator_lost_seconds_total{kind="down",reason="TrainerFailed"}'
    steps = 'qlora_operator_lost_steps_total{reason="TrainerFailed"}'
    before = operator.metrics()
    driver.apply(job_body())
    pods = driver.wait_for_pods("job", 2)
    words = {"outcome": "Failed", "reason": "TrainerFailed", "message": "x", "step": 9, "fromStep": 0, "of": 60}
    driver.end_pod(pods[0], exit_code=1, message=words)
    driver.wait_for("job", "a second attempt", lambda status: len(status.get("attempts", [])) == 2)
    wait_until("the restart", lambda: operator.metrics()[restarts] == before[restarts] + 1)
    driver.wait_for_phase("job", "Running")
    with first_pod_talks(driver, "job", "127.0.3.31") as pod:
        pod.figures |= {"step": 7, "fromStep": 6}
        wait_until("lost steps", lambda: operator.metrics()[steps] == before[steps] + 3)
    assert operator.metrics()[down] > before[down]
    assert operator.metrics()[f'qlora_job_restarts{{job_name="job",namespace="{driver.namespace}"}}'] == 1


def test_a_restart_in_place_that_a_pod_tells_of_is_counted(operator: Operator, driver: JobDriver) -> None:
    restarts = 'qlora_operator_restarts_total{kind="in_place",reason="CollectiveTimeout"}'
    down = 'qlora_operator_lost_seconds_total{kind="down",reason="CollectiveTimeout"}'
    errors = "qlora_operator_reconcile_errors_total"
    before = operator.metrics()
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    with first_pod_talks(driver, "job", "127.0.3.33") as pod:
        pod.figures |= {"step": 12}
        driver.wait_for("job", "step 12", lambda status: status.get("progress", {}).get("step") == 12)
        time.sleep(1.1)  # the times in a status are whole seconds
        told = {"number": 1, "time": 1.0, "reason": "CollectiveTimeout", "toStep": 12, "fromStep": 10}
        pod.figures |= {"step": 11, "resumedStep": 10, "restarts": [told]}
        wait_until("the restart", lambda: operator.metrics()[restarts] == before[restarts] + 1)
    after = operator.metrics()
    assert after[down] > before[down]
    assert after[errors] == before[errors]


@pytest.mark.timeout(180)
def test_a_jobs_series_come_with_its_first_answer_and_go_with_the_job(operator: Operator, driver: JobDriver) -> None:
    labels = f'{{job_name="job",namespace="{driver.namespace}"}}'

    def series() -> dict[str, float]:
        return {name: value for name, value in operator.metrics().items() if name.endswith(labels)}

    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    assert set(series()) == {f"qlora_job_restarts{labels}"}
    with first_pod_talks(driver, "job", "127.0.3.32") as pod:
        pod.figures |= {"step": 12, "loss": 1.5, "tokensPerSecond": 100.0, "residentMemoryBytes": 2**30}
        wait_until("figures", lambda: series().get(f"qlora_job_step{labels}") == 12)
        assert series()[f"qlora_job_loss{labels}"] == 1.5
        assert series()[f"qlora_job_resident_memory_bytes{labels}"] == 2**30
    driver.kubectl("delete", "qlorajob", "job")
    wait_until("no series", lambda: series() == {})
