"""Volumes of a trainer pod: the job's files, scratch space, shared memory, claims and images that sources name."""

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
        *(
            {"name": f"image-{index}", "image": {"reference": location.image}}
            for index, location in enumerate(_images(attempt))
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
        *(
            {"name": f"image-{index}", "mountPath": str(location.mount_path), "readOnly": True}
            for index, location in enumerate(_images(attempt))
        ),
    ]


def _claims(attempt: AttemptSpec) -> list[str]:
    """Each claim once, in the order of model, datasets, held-out rows, output."""
    return list(dict.fromkeys(location.claim for location in _locations(attempt) if location.claim))


def _images(attempt: AttemptSpec) -> list[sources.Location]:
    """A location in each image, in the same order."""
    return list({location.image: location for location in _locations(attempt) if location.image}.values())


def _locations(attempt: AttemptSpec) -> list[sources.Location]:
    return [sources.parse(text) for text in attempt.spec.sources]
