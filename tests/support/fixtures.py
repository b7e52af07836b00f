"""A control plane for a whole test run, and a namespace with volumes for each test."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from builders import volume_bodies
from support.control_plane import OPERATOR, ControlPlane
from support.jobs import JobDriver
from support.kubectl import BINARIES, ROOT
from support.processes import wait_until

RELEASE = "qlora-operator"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        wait_until("the CRD", lambda: plane.run_kubectl("get", "qlorajobs", "-A").returncode == 0)
        _grant_what_the_chart_grants(plane)
        yield plane
    finally:
        plane.stop()


def _grant_what_the_chart_grants(plane: ControlPlane) -> None:
    chart = ROOT / "helm" / "qlora-operator"
    command = [str(BINARIES / "helm"), "template", RELEASE, str(chart), "--show-only", "templates/rbac.yaml"]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    plane.kubectl("apply", "-f", "-", input=rendered)
    role, user = f"--clusterrole={RELEASE}", f"--user={OPERATOR}"
    plane.kubectl("create", "clusterrolebinding", "operator-under-test", role, user)


@pytest.fixture
def driver(control_plane: ControlPlane) -> Iterator[JobDriver]:
    namespace = f"test-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", namespace)
    volumes = [body for claim in ("models", "data", "results") for body in volume_bodies(namespace, claim)]
    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(volumes))
    yield JobDriver(control_plane, namespace)
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
