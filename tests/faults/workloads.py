"""What a user and a kubelet do to a job while the operator is disturbed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from builders import job_body
from qlora_api import names
from support.jobs import JobDriver
from support.processes import wait_until

Body = dict[str, Any]
DONE = {"outcome": "Succeeded", "message": "trained 9 steps", "step": 9, "of": 9, "loss": 0.5, "fromStep": 0}
CRASH = {"outcome": "Failed", "reason": "TrainerFailed", "message": "KeyError: 'x'", "step": 4, "of": 9, "fromStep": 0}
PATIENCE = 60.0


def pods_of(driver: JobDriver, attempt: int) -> list[Body]:
    """The running pods of an attempt, once all are there."""

    def probe() -> list[Body]:
        pods = [pod for pod in driver.pods("job") if pod["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempt)]
        return pods if len(pods) == 2 and all(pod["status"].get("phase") == "Running" for pod in pods) else []

    return wait_until(f"pods of attempt {attempt}", probe, timeout=PATIENCE)


def succeed(driver: JobDriver, attempt: int = 1) -> None:
    for pod in pods_of(driver, attempt):
        driver.end_pod(pod, message=DONE)
    driver.wait_for_phase("job", "Succeeded", timeout=PATIENCE)


def success(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running", timeout=PATIENCE)
    succeed(driver)


def crash_and_success(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running", timeout=PATIENCE)
    driver.end_pod(pods_of(driver, 1)[1], exit_code=1, message=CRASH)
    succeed(driver, attempt=2)


def suspend_and_resume(driver: JobDriver) -> None:
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running", timeout=PATIENCE)
    for suspend, phase in ((True, "Suspended"), (False, "Running")):
        patch = json.dumps({"spec": {"runPolicy": {"suspend": suspend}}})
        driver.kubectl("patch", "qlorajob", "job", "--type=merge", "-p", patch)
        driver.wait_for_phase("job", phase, timeout=PATIENCE)
    succeed(driver, attempt=2)


WORKLOADS: dict[str, Callable[[JobDriver], None]] = {
    "success": success,
    "crash": crash_and_success,
    "suspend": suspend_and_resume,
}


def end_state(driver: JobDriver) -> Body:
    """What has to be the same after every disturbance: the status without times, and which children exist."""
    status = driver.status("job")
    children = driver.kubectl("get", "services,configmaps,jobs", "-l", f"{names.LABEL_JOB}=job", "-o", "name")
    return {"status": _without_times(status), "children": sorted(children.split())}


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if not _varies(key)}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def _varies(key: str) -> bool:
    return key.endswith("Time") or key in ("pod", "node")
