"""All jobs together cost the API server no more progress updates than the chart's `progress.budget` allows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from builders import job_body
from support.audit import Request, read_audit_log
from support.control_plane import OPERATOR
from support.jobs import JobDriver
from support.operator_process import Operator
from support.processes import wait_until
from support.talking_pods import first_pod_talks

BUDGET = 4
JOBS = 8
UPDATES = 40


@pytest.fixture
def hasty(operator: Operator) -> Iterator[Operator]:
    """An operator that would ask each pod ten times a second, were it not for the budget."""
    operator.stop()
    operator.start("--progress-interval=0.1", f"--progress-budget={BUDGET}")
    yield operator
    operator.stop()
    operator.start()


@pytest.mark.timeout(400)
def test_progress_updates_of_all_jobs_stay_within_the_budget(hasty: Operator, driver: JobDriver) -> None:
    jobs = [f"job-{number}" for number in range(JOBS)]
    with ExitStack() as stack:
        pods = []
        for number, job in enumerate(jobs):
            driver.apply(job_body(job, nodes=1))
            driver.wait_for_phase(job, "Running")
            pods.append(stack.enter_context(first_pod_talks(driver, job, f"127.0.3.{40 + number}")))
        for pod in pods:
            pod.moves = True
        began, asked_before = time.time(), sum(pod.asked for pod in pods)

        def updates() -> list[Request]:
            log = read_audit_log(driver.cluster.audit_log, OPERATOR)
            about_us = [r for r in log if r.namespace == driver.namespace and r.resource == "qlorajobs/status"]
            return [request for request in about_us if request.received >= began]

        wait_until("updates", lambda: len(updates()) >= UPDATES, timeout=180, pause=1)
        asked = sum(pod.asked for pod in pods) - asked_before
        seen, allowed = len(updates()), BUDGET * (time.time() - began)
    assert asked <= allowed + 1
    assert seen <= allowed + JOBS, "one look at each job may still have been under way"
    assert all(driver.status(job)["progress"]["step"] > 1 for job in jobs), "no job is forgotten"
