"""The lanes of the sweep, on one control plane, and the cases that the selected tests will ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from faults.history import History
from faults.lane import Lane
from faults.sweep import Sweep
from support.control_plane import ControlPlane
from support.fixtures import control_plane

__all__ = ["control_plane"]

LANES = int(os.environ.get("LANES", "10"))
"""Most of a case's time is waiting."""


@pytest.fixture(scope="session")
def history(control_plane: ControlPlane) -> History:
    history = History(control_plane)
    history.start()
    return history


@pytest.fixture(scope="session")
def lanes(
    control_plane: ControlPlane, history: History, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Lane]]:
    lanes = [Lane(control_plane, history, number, tmp_path_factory.mktemp("lane")) for number in range(LANES)]
    try:
        for lane in lanes:
            lane.begin()
        for lane in lanes:
            lane.wait_until_watching()
        yield lanes
    finally:
        for lane in lanes:
            lane.stop()


@pytest.fixture(scope="session")
def sweep(request: pytest.FixtureRequest, lanes: list[Lane]) -> Iterator[Sweep]:
    """Runs ahead of the tests, for those that were selected."""
    sweep = Sweep(lanes, everything="ALL_FAULTS" in os.environ)
    selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen = [parameters for parameters in selected if "workload" in parameters]
    workloads = dict.fromkeys(parameters["workload"] for parameters in chosen)
    disturbances = [(parameters["workload"], parameters["fault"]) for parameters in chosen if "fault" in parameters]
    sweep.plan(workloads, disturbances)
    yield sweep
    sweep.close()
