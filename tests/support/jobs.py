"""Plays the user and the kubelet: applies QLoRAJobs and lets their pods end as a test wants it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import yaml

from qlora_api import names
from qlora_operator.views import NODE, POD, QLORA_JOB, Kind, child_view
from support.kubectl import Cluster
from support.processes import wait_until

Body = dict[str, Any]
EVENT = Kind("Event", "", "v1", "events", child_view)
QUOTA = Kind("ResourceQuota", "", "v1", "resourcequotas", child_view)
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


class JobDriver:
    """QLoRAJobs of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def apply(self, body: Body) -> None:
        result = self.try_apply(body)
        assert result.returncode == 0, result.stderr

    def try_apply(self, body: Body) -> subprocess.CompletedProcess[str]:
        body["metadata"]["namespace"] = self.namespace
        return self.cluster.run_kubectl("apply", "-f", "-", input=yaml.safe_dump(body))

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=input)

    def get(self, kind: Kind, name: str) -> Body:
        body: Body = self.cluster.request("GET", kind.path(self.namespace, name))
        return body

    def objects(self, kind: Kind, selector: str = "") -> list[Body]:
        query = f"?labelSelector={selector}" if selector else ""
        items: list[Body] = self.cluster.request("GET", kind.path(self.namespace) + query)["items"]
        return items

    def _patch(self, kind: Kind, name: str, patch: Body, content_type: str = MERGE_PATCH, part: str = "") -> None:
        namespace = None if kind is NODE else self.namespace
        self.cluster.request("PATCH", kind.path(namespace, name) + part, patch, content_type)

    def patch_status(self, kind: Kind, name: str, status: Body, content_type: str) -> None:
        self._patch(kind, name, {"status": status}, content_type, part="/status")

    def status(self, name: str) -> Body:
        status: Body = self.get(QLORA_JOB, name).get("status", {})
        return status

    def wait_for_phase(self, name: str, phase: str, timeout: float = 30) -> Body:
        return self.wait_for(name, f"phase {phase}", lambda status: status.get("phase") == phase, timeout)

    def wait_for(self, name: str, what: str, holds: Callable[[Body], Any], timeout: float = 30) -> Body:
        last: Body = {}

        def probe() -> bool:
            nonlocal last
            last = self.status(name)
            return bool(holds(last))

        try:
            wait_until(f"{what} of {name}", probe, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nstatus: {json.dumps(last, indent=2)}") from error
        return last

    def pods(self, name: str) -> list[Body]:
        pods = self.objects(POD, f"{names.LABEL_JOB}={name}")
        return sorted(pods, key=lambda pod: int(pod["metadata"]["labels"][names.LABEL_COMPLETION_INDEX]))

    def wait_for_pods(self, name: str, number: int) -> list[Body]:
        def running() -> list[Body]:
            pods = [pod for pod in self.pods(name) if pod["status"].get("phase") == "Running"]
            return pods if len(pods) == number else []

        return wait_until(f"{number} running pods of {name}", running)

    def end_pod(
        self,
        pod: Body,
        exit_code: int = 0,
        message: str | Body = "",
        container: str = names.TRAINER_CONTAINER,
        reason: str = "",
    ) -> None:
        """Ends a pod as the kubelet would: its container terminates with a message."""
        text = message if isinstance(message, str) else json.dumps(message)
        now = pod["status"]["startTime"]
        terminated = {
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "message": text,
            "startedAt": now,
            "finishedAt": now,
        }
        field = "containerStatuses" if container == names.TRAINER_CONTAINER else "initContainerStatuses"
        status = {
            "phase": "Succeeded" if exit_code == 0 else "Failed",
            field: [{**pod["status"][field][0], "ready": False, "state": {"terminated": terminated}}],
            "conditions": [{"type": "Ready", "status": "False", "reason": "PodCompleted"}],
        }
        self.patch_status(POD, pod["metadata"]["name"], status, MERGE_PATCH)

    def lose_node(self, node: str) -> None:
        """Says of a fake node what the node controller would, and of the pods on it: nobody will see them end."""
        condition = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
        taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
        labels = {"metadata": {"labels": {"lost": "true"}}}
        self._patch(NODE, node, {**labels, "spec": {"taints": [taint]}})
        self.patch_status(NODE, node, {"conditions": [condition]}, STRATEGIC_MERGE_PATCH)
        for pod in self.objects(POD):
            if pod["spec"].get("nodeName") == node:
                self._patch(POD, pod["metadata"]["name"], labels)
                status = {"conditions": [{**condition, "status": "False"}]}
                self.patch_status(POD, pod["metadata"]["name"], status, STRATEGIC_MERGE_PATCH)

    def bring_node_back(self, node: str) -> None:
        """Undoes `lose_node`: the kubelet answers again."""
        self._patch(NODE, node, {"metadata": {"labels": {"lost": None}}, "spec": {"taints": None}})
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        self.patch_status(NODE, node, {"conditions": [condition]}, STRATEGIC_MERGE_PATCH)
