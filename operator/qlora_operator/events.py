"""Kubernetes Events about a QLoRAJob."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from qlora_api import names
from qlora_operator.plan import EventNote
from qlora_operator.times import timestamp
from qlora_operator.views import ResourceView

COMPONENT = "qlora-operator"
MESSAGE_LIMIT = 1024
"""Characters that the API server accepts."""


def build_event(resource: ResourceView, note: EventNote, now: datetime) -> dict[str, Any]:
    """The Event as `kubectl describe` shows it."""
    metadata = resource.metadata
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata.name}.", "namespace": metadata.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
        },
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:MESSAGE_LIMIT],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
