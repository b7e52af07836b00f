"""The headless Service that gives each pod a host name."""

from __future__ import annotations

from qlora_api import names
from qlora_operator.builders.attempt import AttemptSpec
from qlora_operator.builders.metadata import Manifest, job_labels, metadata


def build_service(attempt: AttemptSpec) -> Manifest:
    """One Service serves all attempts, since host names contain the attempt."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(attempt, names.service_name(attempt.name), job_labels(attempt)),
        "spec": {
            "clusterIP": "None",
            "selector": {names.LABEL_JOB_UID: attempt.uid},
            # Ranks look each other up before any of them is ready.
            "publishNotReadyAddresses": True,
        },
    }
