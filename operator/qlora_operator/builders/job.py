"""The Indexed Job: one pod for each node of an attempt."""

from __future__ import annotations

from qlora_api import names
from qlora_operator.builders.attempt import AttemptSpec
from qlora_operator.builders.metadata import Manifest, labels, metadata
from qlora_operator.builders.pod import build_pod_spec


def build_job(attempt: AttemptSpec) -> Manifest:
    """A gang fails as one: the first failed pod ends the Job, which retries nothing by itself.

    In a queue it is created suspended, so that no pod can run before Kueue admits it, with or without Kueue's webhook.
    From then on its `suspend` and what Kueue adds to its pod template are Kueue's.
    """
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(attempt, attempt.child_name, {**labels(attempt), **_queue_labels(attempt)}),
        "spec": {
            "completionMode": "Indexed",
            "completions": attempt.spec.nodes,
            "parallelism": attempt.spec.nodes,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            **({"suspend": True} if attempt.spec.queue_name else {}),
            "template": {"metadata": {"labels": labels(attempt)}, "spec": build_pod_spec(attempt)},
        },
    }


def _queue_labels(attempt: AttemptSpec) -> dict[str, str]:
    wanted = {names.LABEL_QUEUE: attempt.spec.queue_name, names.LABEL_PRIORITY_CLASS: attempt.spec.priority_class}
    return {label: name for label, name in wanted.items() if name}
