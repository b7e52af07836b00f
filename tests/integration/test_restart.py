"""The operator goes away and comes back."""

from __future__ import annotations

from builders import job_body
from support.audit import read_audit_log
from support.control_plane import OPERATOR
from support.jobs import JobDriver
from support.operator_process import Operator


def test_a_restarted_operator_writes_nothing_for_a_settled_job(operator: Operator, driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    operator.stop()
    before = len(read_audit_log(driver.cluster.audit_log, OPERATOR))
    status = driver.status("job")
    operator.start()
    log = read_audit_log(driver.cluster.audit_log, OPERATOR)[before:]
    requests = [request for request in log if request.namespace in ("", driver.namespace)]
    assert driver.status("job") == status
    assert [request for request in requests if request.is_write] == []
    assert [request for request in requests if request.code == 403] == []


def test_a_job_that_ended_meanwhile_is_told_after_the_restart(operator: Operator, driver: JobDriver) -> None:
    driver.apply(job_body())
    pods = driver.wait_for_pods("job", 2)
    driver.wait_for_phase("job", "Running")
    operator.stop()
    for pod in pods:
        driver.end_pod(pod, message={"outcome": "Succeeded", "step": 3, "of": 3})
    operator.start()
    assert driver.wait_for_phase("job", "Succeeded")["progress"]["position"] == "3/3"
