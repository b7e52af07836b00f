"""A control plane for a whole test run, and a namespace with volumes for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from support.control_plane import ControlPlane
from support.installation import install, prepare_namespace
from support.jobs import JobDriver

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        install(plane)
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def driver(control_plane: ControlPlane) -> Iterator[JobDriver]:
    namespace = f"test-{next(_numbers)}"
    prepare_namespace(control_plane, namespace)
    yield JobDriver(control_plane, namespace)
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
