"""The immutable ConfigMap from which the pods of an attempt read what to do."""

from __future__ import annotations

import json

from qlora_api.job import MUTABLE_FIELDS
from qlora_operator.builders.attempt import AttemptSpec
from qlora_operator.builders.metadata import Manifest, labels, metadata


def build_config_map(attempt: AttemptSpec) -> Manifest:
    """`hostfile` for the DeepSpeed launcher and `job.json` for the trainer."""
    job_file = attempt.job_file()
    content = job_file.to_json()
    for field in MUTABLE_FIELDS:
        content["spec"].pop(field, None)  # no business of the pods, and the ConfigMap cannot follow a change
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(attempt, attempt.child_name, labels(attempt)),
        "immutable": True,
        "data": {
            "hostfile": job_file.hostfile(),
            "job.json": json.dumps(content, indent=2) + "\n",
        },
    }
