"""One control plane for all tests of the folder; each test has a namespace of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control_plane import BINARIES, OPERATOR, ROOT, ControlPlane
from support.jobs import JobDriver
from support.processes import Process, free_port, wait_until

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
    command = [BINARIES / "helm", "template", RELEASE, chart, "--show-only", "templates/rbac.yaml"]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    plane.kubectl("apply", "-f", "-", input=rendered)
    role, user = f"--clusterrole={RELEASE}", f"--user={OPERATOR}"
    plane.kubectl("create", "clusterrolebinding", "operator-under-test", role, user)


class Operator:
    """The operator as a process; it can be killed and started again."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self.port = free_port()
        self.process: Process | None = None

    def start(self, *flags: str) -> Process:
        command = [
            sys.executable, "-m", "qlora_operator", "--trainer-image=trainer:test", f"--port={self.port}",
            "--progress-interval=0.5", "--resync-interval=20", "--log-format=plain", *flags,
        ]  # fmt: skip
        env = {**os.environ, "KUBECONFIG": str(self._plane.kubeconfig(OPERATOR))}
        self.process = process = Process(command, self._folder / "operator.log", env)
        wait_until(f"operator: {process.tail()}", self.healthy, timeout=30)
        return process

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.alive(), self.process.tail()
        return (
            subprocess.run(
                ["curl", "-sf", f"http://127.0.0.1:{self.port}/healthz"], capture_output=True, check=False
            ).returncode
            == 0
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()


@pytest.fixture(scope="session")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    operator = Operator(control_plane, tmp_path_factory.mktemp("operator"))
    operator.start()
    yield operator
    operator.stop()


@pytest.fixture
def driver(control_plane: ControlPlane) -> Iterator[JobDriver]:
    namespace = f"test-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", namespace)
    yield JobDriver(control_plane, namespace)
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
