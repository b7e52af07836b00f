"""Volumes of a trainer pod: the job's files, scratch space, shared memory and the claims that sources name."""

from __future__ import annotations

from qlora_api import names, sources
from qlora_operator.builders.attempt import AttemptSpec
from qlora_operator.builders.metadata import Manifest


def build_volumes(attempt: AttemptSpec) -> list[Manifest]:
    """The pod's volumes."""
    return [
        {"name": "job", "configMap": {"name": attempt.child_name}},
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        *(
            {"name": f"claim-{index}", "persistentVolumeClaim": {"claimName": claim}}
            for index, claim in enumerate(_claims(attempt))
        ),
    ]


def build_volume_mounts(attempt: AttemptSpec) -> list[Manifest]:
    """Where they are mounted. Only the output's claim can be written to."""
    output = sources.parse(attempt.spec.output.destination).claim
    return [
        {"name": "job", "mountPath": names.JOB_DIRECTORY, "readOnly": True},
        {"name": "work", "mountPath": names.WORK_DIRECTORY},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
        *(
            {
                "name": f"claim-{index}",
                "mountPath": f"{names.VOLUMES_DIRECTORY}/{claim}",
                **({} if claim == output else {"readOnly": True}),
            }
            for index, claim in enumerate(_claims(attempt))
        ),
    ]


def _claims(attempt: AttemptSpec) -> list[str]:
    """Each claim once, in the order of model, datasets, held-out rows, output."""
    claims = [sources.parse(text).claim for text in attempt.spec.sources]
    return list(dict.fromkeys(claim for claim in claims if claim))
