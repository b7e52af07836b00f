"""What must hold at any moment of any run, read off the API server's audit log."""

from __future__ import annotations

from collections import Counter

from qlora_api import names
from qlora_operator.views import CONFIG_MAP, JOB, QLORA_JOB, SERVICE
from support.audit import Request, read_audit_log
from support.control_plane import OPERATOR
from support.jobs import JobDriver


def check_invariants(driver: JobDriver, pods_per_attempt: int = 2) -> None:
    """Fails with the name of the invariant that was broken in the driver's namespace."""
    log = [request for request in read_audit_log(driver.cluster.audit_log) if request.namespace == driver.namespace]
    operator = [request for request in log if request.user == OPERATOR]
    attempts = [attempt["number"] for attempt in driver.status("job")["attempts"]]
    _no_pod_too_many(log, len(attempts) * pods_per_attempt)
    _nothing_created_twice(operator)
    _claims_are_left_alone(operator)
    _nothing_was_forbidden(operator)
    assert attempts == sorted(set(attempts)), "I9: an attempt is recorded once"
    _children_belong_to_the_job(driver)


def _no_pod_too_many(log: list[Request], limit: int) -> None:
    created = [request for request in log if (request.verb, request.resource, request.code) == ("create", "pods", 201)]
    assert len(created) <= limit, f"I1: {len(created)} pods were created, {limit} are enough"


def _nothing_created_twice(operator: list[Request]) -> None:
    created = Counter(
        (request.resource, request.name)
        for request in operator
        if request.verb == "create" and request.code == 201 and request.resource != "events"
    )
    assert [name for name, times in created.items() if times > 1] == [], "I1: created twice"


def _claims_are_left_alone(operator: list[Request]) -> None:
    assert not [request for request in operator if "persistentvolume" in request.resource], "I7: volumes are the user's"


def _nothing_was_forbidden(operator: list[Request]) -> None:
    assert not [request for request in operator if request.code == 403], "I8: a verb that the chart does not grant"


def _children_belong_to_the_job(driver: JobDriver) -> None:
    uid = driver.get(QLORA_JOB, "job")["metadata"]["uid"]
    for kind in (SERVICE, CONFIG_MAP, JOB):
        for child in driver.objects(kind):
            owners = child["metadata"].get("ownerReferences", [])
            if child["metadata"].get("labels", {}).get(names.LABEL_JOB) == "job":
                assert [owner["uid"] for owner in owners] == [uid], "I6: a child without its owner"
