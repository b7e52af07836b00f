"""Two replicas with a Lease."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import job_body
from support.control_plane import OPERATOR, ControlPlane
from support.jobs import JobDriver
from support.kubectl import Cluster
from support.operator_process import Operator
from support.processes import wait_until

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
