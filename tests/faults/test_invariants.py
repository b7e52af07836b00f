"""The checks of the sweep themselves: each finds what breaks its invariant, and nothing in a sound history."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from builders import Body, child_body, job_body, pod_body, stored
from faults.history import Change
from faults.invariants import violations, violations_of_access
from qlora_api import names
from support.audit import Request


class Story:
    """A history, told change by change."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._versions = itertools.count(1)

    def tell(self, type_: str, body: Body) -> Story:
        self.changes.append(Change(body["kind"], type_, next(self._versions), body))
        return self

    def resource(self, type_: str = "MODIFIED", generation: int = 1, **status: Any) -> Story:
        status = {} if type_ == "ADDED" else {"observedGeneration": 1, **status}
        return self.tell(type_, stored(job_body(), generation=generation, status=status))

    def pods(self, type_: str = "ADDED", attempt: int = 1, phase: str = "Running") -> Story:
        for index in range(2):
            self.tell(type_, pod_body(index, attempt=attempt, phase=phase))
        return self


def started() -> Story:
    story = Story().resource("ADDED")
    for body in (child_body("Service", "job"), child_body("ConfigMap", "job-1"), child_body("Job", "job-1")):
        story.tell("ADDED", body)
    return story.pods().resource(phase="Running", attempts=[{"number": 1}])


def finished() -> Story:
    return started().pods("MODIFIED", phase="Succeeded").resource(phase="Succeeded", attempts=[{"number": 1}])


def test_a_sound_history_breaks_nothing() -> None:
    assert violations(finished().changes) == []


def test_a_restart_after_the_old_pods_have_ended_breaks_nothing() -> None:
    story = started().pods("MODIFIED", phase="Failed").resource(phase="Restarting", restarts=0)
    story.resource(phase="Restarting", restarts=1, attempts=[{"number": 1}, {"number": 2}]).pods(attempt=2)
    assert violations(story.changes) == []


@pytest.mark.parametrize(
    ("number", "story"),
    [
        ("I1", started().pods()),
        ("I2", started().pods(attempt=2)),
        ("I3", finished().pods(attempt=2)),
        ("I4", finished().resource(phase="Restarting", attempts=[{"number": 1}])),
        ("I4", started().resource(phase="Succeeded", attempts=[{"number": 1}])),
        ("I5", started().resource(observedGeneration=2)),
        ("I5", started().resource(observedGeneration=0)),
        ("I6", started().tell("ADDED", child_body("ConfigMap", "job-2", owner_uid="another"))),
        ("I6", started().tell("ADDED", child_body("ConfigMap", "job-2", owner_uid="another", job_uid="another"))),
        ("I9", started().resource(attempts=[{"number": 1}, {"number": 3}])),
        ("I9", started().resource(restarts=2)),
    ],
)
def test_what_breaks_an_invariant_is_found_under_its_number(number: str, story: Story) -> None:
    found = violations(story.changes)
    assert found
    assert {violation.split(":")[0] for violation in found} == {number}


def request(verb: str, resource: str, *, forbidden: bool = False) -> Request:
    return Request("operator", verb, resource, "lane-0", "x", 200, 0.0, 0.0, forbidden=forbidden, dry_run=False)


def test_access_to_volumes_and_what_no_role_grants_are_found() -> None:
    requests = [
        request("create", "jobs"),
        request("delete", "persistentvolumeclaims"),
        request("list", "secrets", forbidden=True),
    ]
    assert [violation.split(":")[0] for violation in violations_of_access(requests)] == ["I7", "I8"]


def test_the_builders_speak_of_the_kinds_that_are_judged() -> None:
    assert {change.kind for change in finished().changes} == {names.KIND, "Service", "ConfigMap", "Job", "Pod"}
