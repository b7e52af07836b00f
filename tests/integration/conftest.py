"""The operator on one control plane for all tests of the folder; each test has a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.control_plane import ControlPlane
from support.fixtures import control_plane, driver
from support.operator_process import Operator

__all__ = ["control_plane", "driver"]


@pytest.fixture(scope="session")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    operator = Operator(control_plane, tmp_path_factory.mktemp("operator"))
    operator.start()
    yield operator
    operator.stop()
