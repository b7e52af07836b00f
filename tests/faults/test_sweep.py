"""Every write of every workload, disturbed in every way: the end is that of the undisturbed run.

`make test-faults` runs all of it. Without `ALL_FAULTS=1` a part runs, in which each write and each fault is met once.
"""

from __future__ import annotations

import os

import pytest

from faults.history import History
from faults.invariants import violations_of_access
from faults.kinds import ReadFault, WriteFault
from faults.lane import Lane, Outcome
from faults.sweep import Sweep
from faults.workloads import WORKLOADS
from support.audit import read_audit_log
from support.control_plane import OPERATOR, ControlPlane

ALL = "ALL_FAULTS" in os.environ
QUIET = 60.0 if ALL else 25.0
"""Seconds without a write at the end; more than the operators' resync interval of 5 s."""

pytestmark = pytest.mark.timeout(900)

READ_FAULTS = [(workload, fault) for workload in WORKLOADS for fault in ReadFault]
"""In the part, each of them meets one workload."""
if not ALL:
    READ_FAULTS = list(zip(list(WORKLOADS)[1:], ReadFault, strict=False))


def assert_sound(outcomes: list[Outcome]) -> None:
    told = [str(outcome) for outcome in outcomes if outcome.problems]
    if told:
        pytest.fail("\n\n".join(told), pytrace=False)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_an_undisturbed_run_comes_to_the_same_end_every_time(workload: str, sweep: Sweep) -> None:
    first, second = sweep.undisturbed(workload)
    assert_sound([first, second])
    assert first.state == second.state
    assert first.events == second.events


@pytest.mark.parametrize("fault", WriteFault)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_disturbed_write_changes_nothing_in_the_end(workload: str, fault: WriteFault, sweep: Sweep) -> None:
    assert_sound(sweep.disturbed(workload, fault))


@pytest.mark.parametrize(("workload", "fault"), READ_FAULTS)
def test_disturbed_reading_changes_nothing_in_the_end(workload: str, fault: ReadFault, sweep: Sweep) -> None:
    assert_sound(sweep.disturbed(workload, fault))


def test_nothing_is_written_about_a_job_that_has_settled(sweep: Sweep) -> None:
    late = sweep.writes_after_the_end(sweep.outcomes(), QUIET)
    assert not late, "I10: " + "\n".join(late)


def test_the_operators_stay_within_what_the_chart_grants(
    sweep: Sweep, lanes: list[Lane], control_plane: ControlPlane, history: History
) -> None:
    sweep.outcomes()
    assert not history.ended, "the history has holes"
    assert violations_of_access(read_audit_log(control_plane.audit_log, OPERATOR)) == []
