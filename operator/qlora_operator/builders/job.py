"""The Indexed Job: one pod for each node of an attempt."""

from __future__ import annotations

from qlora_operator.builders.attempt import AttemptSpec
from qlora_operator.builders.metadata import Manifest, labels, metadata
from qlora_operator.builders.pod import build_pod_spec


def build_job(attempt: AttemptSpec) -> Manifest:
    """A gang fails as one: the first failed pod ends the Job, which retries nothing by itself."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(attempt, attempt.child_name, labels(attempt)),
        "spec": {
            "completionMode": "Indexed",
            "completions": attempt.spec.nodes,
            "parallelism": attempt.spec.nodes,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": {"labels": labels(attempt)}, "spec": build_pod_spec(attempt)},
        },
    }
