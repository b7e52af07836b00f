"""Objects for tests, as short to write as a test needs them."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta
from typing import Any

from qlora_api import names
from qlora_operator.times import timestamp

Body = dict[str, Any]

SPEC: Body = {
    "model": {"source": "pvc://models/tiny"},
    "dataset": {"source": "pvc://data/train.jsonl"},
    "output": {"destination": "pvc://results/out"},
    "nodes": 2,
    "node": {"accelerator": "cpu"},
}


def job_body(name: str = "job", namespace: str = "default", **spec: Any) -> Body:
    """A QLoRAJob as a user writes it; keyword arguments replace fields of `spec`, None removes one.

    Jobs of different names write to different folders.
    """
    output = {} if name == "job" else {"output": {"destination": f"pvc://results/{name}"}}
    merged = {**copy.deepcopy(SPEC), **output, **spec}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in merged.items() if value is not None},
    }


def stored(body: Body, uid: str = "uid", version: int = 1, generation: int = 1, status: Body | None = None) -> Body:
    """A QLoRAJob as the API server returns it."""
    result = copy.deepcopy(body)
    result["metadata"] |= {"uid": uid, "resourceVersion": str(version), "generation": generation}
    if status is not None:
        result["status"] = status
    return result


def child_body(
    kind: str,
    name: str,
    *,
    job: str = "job",
    owner_uid: str = "uid",
    uid: str = "child-uid",
    job_uid: str = "uid",
    attempt: int = 1,
    version: int = 1,
    **body: Any,
) -> Body:
    """A child as the API server returns it, in namespace default."""
    return {
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {
                names.LABEL_JOB: job,
                names.LABEL_JOB_UID: job_uid,
                names.LABEL_ATTEMPT: str(attempt),
            },
            "ownerReferences": [{"uid": owner_uid, "controller": True}],
        },
        **body,
    }


def batch_job_body(
    *conditions: str,
    message: str = "",
    attempt: int = 1,
    suspended: bool = False,
    queue: str | None = None,
    priority_class: str | None = None,
    succeeded: int = 0,
    **arguments: Any,
) -> Body:
    """The Job of an attempt with true conditions of these types."""
    status: Body = {"conditions": [{"type": type_, "status": "True", "message": message} for type_ in conditions]}
    status["succeeded"] = succeeded
    spec = {"suspend": suspended}
    body = child_body("Job", f"job-{attempt}", uid="job-uid", attempt=attempt, spec=spec, status=status, **arguments)
    labels = {names.LABEL_QUEUE: queue, names.LABEL_PRIORITY_CLASS: priority_class}
    body["metadata"]["labels"] |= {label: name for label, name in labels.items() if name is not None}
    return body


def pod_body(
    index: int,
    *,
    phase: str = "Running",
    trainer: Body | None = None,
    fetch: Body | None = None,
    attempt: int = 1,
    version: int = 1,
    ready: bool = True,
    deleting: bool = False,
    deletion_requested_at: str | None = None,
    forced: bool = False,
    disruption: str | None = None,
    scheduled_at: str = "2025-12-31T23:59:59Z",
    **status: Any,
) -> Body:
    """A pod of an attempt; `trainer` and `fetch` are the states of its containers."""
    name = f"job-{attempt}-{index}-abcde"
    body = child_body("Pod", name, owner_uid="job-uid", uid=f"pod-{attempt}-{index}", attempt=attempt, version=version)
    if deleting or deletion_requested_at:
        grace_period = 0 if forced else 60
        requested = datetime.fromisoformat(deletion_requested_at or "2026-01-01T00:00:00Z")
        body["metadata"] |= {
            "deletionTimestamp": timestamp(requested + timedelta(seconds=grace_period)),
            "deletionGracePeriodSeconds": grace_period,
        }
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled_at}
    conditions: list[Body] = [{"type": "Ready", "status": str(ready)}, scheduled]
    if disruption is not None:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": disruption})
    body["metadata"]["labels"][names.LABEL_COMPLETION_INDEX] = str(index)
    body["spec"] = {"nodeName": f"node-{index}"}
    body["status"] = {
        "phase": phase,
        "podIP": f"127.0.0.{index + 1}",
        "conditions": conditions,
        "initContainerStatuses": [{"name": names.INIT_CONTAINER, "state": fetch or ended(0)}],
        "containerStatuses": [{"name": names.TRAINER_CONTAINER, "state": trainer or {"running": {}}}],
        **status,
    }
    return body


def ended(exit_code: int, message: str | Body = "", *, reason: str = "Error", at: str = "2026-01-01T00:00:00Z") -> Body:
    """The state of a container that has ended."""
    text = message if isinstance(message, str) else json.dumps(message)
    return {"terminated": {"exitCode": exit_code, "reason": reason, "message": text, "finishedAt": at}}


def volume_bodies(namespace: str, claim: str) -> list[Body]:
    """A volume and the claim that is bound to it."""
    name = f"{namespace}-{claim}"
    shared = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {**shared, "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/nowhere"}}
    request = {**shared, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": name}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": request,
        },
    ]
