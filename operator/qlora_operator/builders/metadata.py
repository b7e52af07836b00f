"""Labels and owner of every child."""

from __future__ import annotations

from typing import Any

from qlora_api import names
from qlora_operator.builders.attempt import AttemptSpec

Manifest = dict[str, Any]


def labels(attempt: AttemptSpec) -> dict[str, str]:
    """Labels of what belongs to one attempt."""
    return {**job_labels(attempt), names.LABEL_ATTEMPT: str(attempt.attempt)}


def job_labels(attempt: AttemptSpec) -> dict[str, str]:
    """Labels of what serves every attempt of a job."""
    return {
        "app.kubernetes.io/name": "qlora-trainer",
        "app.kubernetes.io/managed-by": "qlora-operator",
        names.LABEL_JOB: attempt.name,
        names.LABEL_JOB_UID: attempt.uid,
    }


def metadata(attempt: AttemptSpec, name: str, labels: dict[str, str]) -> Manifest:
    """Metadata of a child: garbage-collected with the QLoRAJob of that UID."""
    return {
        "name": name,
        "namespace": attempt.namespace,
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": attempt.name,
                "uid": attempt.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
