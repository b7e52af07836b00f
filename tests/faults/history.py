"""What happened to every object, as an independent watch saw it: for waiting, and for judging afterwards.

All kinds lie in one etcd, so resource versions order the changes of different kinds.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from qlora_api import names
from qlora_operator.views import KINDS, QLORA_JOB, Kind
from support.kubectl import Cluster

Body = dict[str, Any]
KEPT_METADATA = frozenset(
    {"name", "namespace", "uid", "labels", "ownerReferences", "resourceVersion", "generation", "deletionTimestamp"}
)


@dataclass(frozen=True)
class Change:
    """An object was ADDED, MODIFIED or DELETED."""

    kind: str
    type: str
    version: int
    body: Body

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])


class History:
    """Watches all kinds that the operator watches, in all namespaces."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._now: dict[tuple[str, str, str], dict[str, Body]] = defaultdict(dict)
        self._changes: dict[tuple[str, str], list[Change]] = defaultdict(list)
        self.ended: list[str] = []
        """Watches that broke off: from then on the history has holes."""

    def start(self) -> None:
        for kind in KINDS:
            listed = self._cluster.request("GET", kind.path(None) + _query(kind))
            version = listed["metadata"]["resourceVersion"]
            threading.Thread(target=self._follow, args=(kind, version), daemon=True).start()

    def objects(self, kind: Kind, namespace: str, job: str) -> dict[str, Body]:
        """By name: the QLoRAJob itself, or what carries its label."""
        with self._lock:
            return dict(self._now[kind.name, namespace, job])

    def of(self, namespace: str, job: str) -> list[Change]:
        """All changes of a QLoRAJob and its children, in their order."""
        with self._lock:
            changes = list(self._changes[namespace, job])
        return sorted(changes, key=lambda change: change.version)

    def _follow(self, kind: Kind, version: str) -> None:
        connection = self._cluster.connect(timeout=None)
        path = f"{kind.path(None)}{_query(kind)}&watch=true&resourceVersion={version}&timeoutSeconds=7200"
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        try:
            while line := response.readline():
                self._take(kind, json.loads(line))
        finally:
            self.ended.append(kind.name)

    def _take(self, kind: Kind, event: Body) -> None:
        body = _stripped(event["object"])
        metadata = body["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        job = name if kind is QLORA_JOB else metadata["labels"][names.LABEL_JOB]
        with self._lock:
            self._changes[namespace, job].append(
                Change(kind.name, event["type"], int(metadata["resourceVersion"]), body)
            )
            if event["type"] == "DELETED":
                self._now[kind.name, namespace, job].pop(name, None)
            else:
                self._now[kind.name, namespace, job][name] = body


def _query(kind: Kind) -> str:
    return "?" if kind is QLORA_JOB else f"?labelSelector={names.LABEL_JOB}"


def _stripped(body: Body) -> Body:
    """Whole objects of a long sweep would fill the memory."""
    metadata = {key: value for key, value in body["metadata"].items() if key in KEPT_METADATA}
    node = body.get("spec", {}).get("nodeName")
    return {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": body.get("status", {})}
