"""Every write of every workload, disturbed in every way: the end is that of the undisturbed run.

`make test-faults` runs all of it. Without `ALL_FAULTS=1` a part runs that meets each write and each fault once.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from faults.conftest import DisturbedOperator
from faults.invariants import check_invariants
from faults.proxy import Fault, WatchFault
from faults.workloads import WORKLOADS, end_state
from support.jobs import JobDriver

MOST_WRITES = {"success": 7, "crash": 13, "suspend": 14}
"""More than the writes of the undisturbed run are not tried; `test_the_sweep_meets_every_write` keeps this true."""

ALL = [(name, number, fault) for name in WORKLOADS for number in range(MOST_WRITES[name]) for fault in Fault]
FEW = [case for number, case in enumerate(ALL) if number % (len(Fault) + 1) == 0]
CASES = ALL if os.environ.get("ALL_FAULTS") else FEW


@pytest.fixture(scope="session")
def undisturbed() -> dict[str, dict[str, Any]]:
    """End states by workload, filled by the first test of each."""
    return {}


def reference(name: str, disturbed: DisturbedOperator, driver: JobDriver, known: dict[str, Any]) -> dict[str, Any]:
    """Runs a workload in peace, once."""
    if name not in known:
        disturbed.proxy.arm()
        WORKLOADS[name](driver)
        disturbed.wait_until_calm()
        known[name] = {"state": end_state(driver), "writes": len(disturbed.proxy.writes)}
    found: dict[str, Any] = known[name]
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_sweep_meets_every_write(
    name: str, disturbed: DisturbedOperator, driver: JobDriver, undisturbed: dict[str, Any]
) -> None:
    assert reference(name, disturbed, driver, undisturbed)["writes"] <= MOST_WRITES[name]
    check_invariants(driver)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "number", "fault"), CASES)
def test_a_disturbed_write_changes_nothing_in_the_end(
    name: str,
    number: int,
    fault: Fault,
    disturbed: DisturbedOperator,
    driver: JobDriver,
    undisturbed: dict[str, Any],
) -> None:
    expected = undisturbed[name]["state"]
    disturbed.proxy.arm(fault=(number, fault))
    WORKLOADS[name](driver)
    disturbed.wait_until_calm()
    assert end_state(driver) == expected
    check_invariants(driver)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", WatchFault)
def test_a_disturbed_watch_changes_nothing_in_the_end(
    fault: WatchFault, disturbed: DisturbedOperator, driver: JobDriver, undisturbed: dict[str, Any]
) -> None:
    expected = undisturbed["crash"]["state"]
    disturbed.restart_with(watch_fault=fault)
    WORKLOADS["crash"](driver)
    disturbed.wait_until_calm()
    assert end_state(driver) == expected
    check_invariants(driver)
