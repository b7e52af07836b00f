"""What must hold at every moment of every run, read off the history of a job and the API server's audit log.

The numbers are those by which the documentation names them. I9 (restarts are counted once a fault) and I10 (the end is
that of the undisturbed run) are the comparison of end states; what I10 says of the time after it is in `sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from faults.history import Body, Change
from faults.play import NODES
from qlora_api import names
from qlora_api.status import Phase
from support.audit import Request

FINAL = (Phase.SUCCEEDED, Phase.FAILED)
CHILDREN = ("Service", "ConfigMap", "Job")


def violations(changes: list[Change]) -> list[str]:
    """The invariants that a job's history breaks, each with what broke it."""
    return [*_of_pods(changes), *_of_status(changes), *_of_owners(changes)]


def violations_of_access(requests: list[Request]) -> list[str]:
    """I7 and I8, of all requests of the operator."""
    volumes = [f"I7: {r.verb} {r.resource} {r.name}" for r in requests if "persistentvolume" in r.resource]
    forbidden = [f"I8: {r.verb} {r.resource} in {r.namespace!r}" for r in requests if r.forbidden]
    return volumes + forbidden


def _of_pods(changes: list[Change]) -> Iterator[str]:
    """I1, I2, I3 and the second half of I4: walks through time with the pods that live at each moment."""
    live: dict[str, Body] = {}
    succeeded: set[tuple[str, str, str]] = set()
    ended: set[str] = set()
    phases: dict[str, str | None] = {}
    for change in changes:
        if change.kind == names.KIND:
            before, phase = phases.get(change.uid), change.body["status"].get("phase")
            phases[change.uid] = phase
            if phase in FINAL:
                ended.add(change.uid)
            if phase == Phase.SUCCEEDED and before != phase:
                attempt = str(change.body["status"]["attempts"][-1]["number"])
                indexes = {index for uid, number, index in succeeded if (uid, number) == (change.uid, attempt)}
                if len(indexes) != NODES:
                    yield f"I4: Succeeded with the indexes {sorted(indexes)} of {NODES}"
        if change.kind != "Pod":
            continue
        uid, attempt, index = identity = _identity(change.body)
        if change.type == "ADDED":
            rivals = [_identity(pod) for pod in live.values() if _identity(pod)[0] == uid]
            if identity in rivals:
                yield f"I1: two living pods of attempt {attempt} index {index}"
            if any(number != attempt for _, number, _ in rivals):
                yield f"I2: a pod of attempt {attempt} beside {sorted(rivals)}"
            if uid in ended:
                yield f"I3: a pod of attempt {attempt} after the job's end"
        phase = change.body["status"].get("phase")
        if phase == "Succeeded":
            succeeded.add(identity)
        if change.type == "DELETED" or phase in ("Succeeded", "Failed"):
            live.pop(change.uid, None)
        else:
            live[change.uid] = change.body


def _identity(pod: Body) -> tuple[str, str, str]:
    labels = pod["metadata"]["labels"]
    return labels[names.LABEL_JOB_UID], labels[names.LABEL_ATTEMPT], labels[names.LABEL_COMPLETION_INDEX]


def _of_status(changes: list[Change]) -> Iterator[str]:
    """I4, I5, I9: each version of the resource beside the one before it."""
    resources = [change for change in changes if change.kind == names.KIND and change.type != "DELETED"]
    for change in resources:
        metadata, status = change.body["metadata"], change.body["status"]
        if status.get("observedGeneration", 0) > metadata["generation"]:
            yield f"I5: observedGeneration {status['observedGeneration']} of generation {metadata['generation']}"
        numbers = [attempt["number"] for attempt in status.get("attempts", [])]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"I9: attempts {numbers}"
    for old, new in pairwise(resources):
        if old.uid != new.uid:
            continue
        before, after = old.body["status"], new.body["status"]
        if before.get("phase") in FINAL and after.get("phase") != before["phase"]:
            yield f"I4: {before['phase']} became {after.get('phase')}"
        if after.get("observedGeneration", 0) < before.get("observedGeneration", 0):
            yield "I5: observedGeneration fell"
        for field in ("restarts", "countedRestarts"):
            if after.get(field, 0) - before.get(field, 0) not in (0, 1):
                yield f"I9: {field} went from {before.get(field)} to {after.get(field)}"


def _of_owners(changes: list[Change]) -> Iterator[str]:
    """I6: every child names as its controller the resource that was there when it was created."""
    uids = {change.uid for change in changes if change.kind == names.KIND}
    for change in changes:
        if change.kind in CHILDREN and change.type == "ADDED":
            owners = [owner for owner in change.body["metadata"].get("ownerReferences", []) if owner.get("controller")]
            labelled = change.body["metadata"]["labels"][names.LABEL_JOB_UID]
            if [owner["uid"] for owner in owners] != [labelled] or labelled not in uids:
                yield f"I6: {change.kind} {change.body['metadata']['name']} is not the job's own"
