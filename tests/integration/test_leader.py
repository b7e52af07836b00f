"""Two replicas with a Lease."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import job_body
from qlora_operator.views import JOB, QLORA_JOB
from support.control_plane import OPERATOR, ControlPlane
from support.jobs import JobDriver
from support.kubectl import Cluster
from support.operator_process import Operator
from support.processes import wait_until

CRASH = {"outcome": "Failed", "reason": "TrainerFailed", "message": "x", "step": 4, "of": 9}
LEASE = "--lease-namespace=default"
RULES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: lease-of-operator}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update]}
"""


@pytest.fixture
def replicas(control_plane: ControlPlane, operator: Operator, tmp_path: Path) -> Iterator[list[Operator]]:
    """Two replicas, in the place of the single operator of the other tests."""
    operator.stop()
    control_plane.kubectl("apply", "-f", "-", input=RULES)
    binding = ["create", "clusterrolebinding", "lease-of-operator", "--clusterrole=lease-of-operator"]
    control_plane.run_kubectl(*binding, f"--user={OPERATOR}")
    replicas = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        replica = Operator(control_plane, tmp_path / name)
        replica.start(LEASE)
        replicas.append(replica)
        wait_until("a leader", lambda: holder(control_plane).endswith(f"-{replicas[0].pid}"))
    yield replicas
    for replica in replicas:
        replica.stop()
    control_plane.kubectl("delete", "lease", "qlora-operator", "-n", "default")
    operator.start()


def holder(plane: Cluster) -> str:
    return plane.kubectl("get", "lease", "qlora-operator", "-n", "default", "-o", "jsonpath={.spec.holderIdentity}")


@pytest.mark.timeout(120)
def test_a_killed_leader_is_replaced_and_its_jobs_go_on(replicas: list[Operator], driver: JobDriver) -> None:
    first, second = replicas
    assert [replica.metrics()["qlora_operator_leader"] for replica in replicas] == [1, 0]
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    first.kill()
    driver.apply(job_body("after"))
    began = time.monotonic()
    driver.wait_for_phase("after", "Running", timeout=60)
    assert time.monotonic() - began < 30
    assert holder(driver.cluster).endswith(f"-{second.pid}")
    assert second.metrics()["qlora_operator_leader"] == 1
    for pod in driver.wait_for_pods("job", 2):
        driver.end_pod(pod, message={"outcome": "Succeeded", "step": 1, "of": 1})
    driver.wait_for_phase("job", "Succeeded")


@pytest.mark.timeout(120)
def test_a_leader_that_is_stopped_gives_the_lease_back(replicas: list[Operator], driver: JobDriver) -> None:
    first, second = replicas
    first.stop()
    began = time.monotonic()
    wait_until("the second leads", lambda: holder(driver.cluster).endswith(f"-{second.pid}"), timeout=30)
    assert time.monotonic() - began < 10, "less than the Lease's duration"
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")


@pytest.mark.timeout(180)
def test_an_old_leader_that_comes_back_does_no_harm_and_leaves(replicas: list[Operator], driver: JobDriver) -> None:
    first, second = replicas
    driver.apply(job_body())
    driver.wait_for_phase("job", "Running")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        wait_until("the second leads", lambda: holder(driver.cluster).endswith(f"-{second.pid}"), timeout=60)
        driver.end_pod(driver.wait_for_pods("job", 2)[1], exit_code=1, message=CRASH)
        driver.wait_for("job", "attempt 2", lambda s: s["phase"] == "Running" and len(s["attempts"]) == 2, timeout=60)
        settled = driver.get(QLORA_JOB, "job")["metadata"]["resourceVersion"]
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.process is not None
    wait_until("the end of the first", lambda: first.process is not None and not first.process.alive(), timeout=60)
    assert first.process.wait() == 1
    assert driver.get(QLORA_JOB, "job")["metadata"]["resourceVersion"] == settled
    assert [job["metadata"]["name"] for job in driver.objects(JOB)] == ["job-1", "job-2"]
    assert holder(driver.cluster).endswith(f"-{second.pid}")
