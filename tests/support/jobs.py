"""Plays the user and the kubelet: applies QLoRAJobs and lets their pods end as a test wants it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import yaml

from qlora_api import names
from support.kubectl import Cluster
from support.processes import wait_until

Body = dict[str, Any]


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

    def get(self, kind: str, name: str) -> Body:
        body: Body = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return body

    def objects(self, kind: str) -> list[Body]:
        items: list[Body] = json.loads(self.kubectl("get", kind, "-o", "json"))["items"]
        return items

    def status(self, name: str) -> Body:
        status: Body = self.get(names.PLURAL, name).get("status", {})
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
        selector = f"{names.LABEL_JOB}={name}"
        pods: list[Body] = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
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
        patch = json.dumps({"status": status})
        self.kubectl("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", "-p", patch)

    def set_node_ready(self, node: str, truth: str) -> None:
        """Says of a fake node what the node controller would, and of the pods on it."""
        reason = "NodeStatusUnknown" if truth == "Unknown" else "KubeletReady"
        condition = {"type": "Ready", "status": truth, "reason": reason}
        self.kubectl("label", "node", node, "lost-" if truth == "True" else "lost=true", "--overwrite")
        self._patch_conditions("node", node, condition)
        if truth != "True":
            for pod in self.objects("pods"):
                if pod["spec"].get("nodeName") == node:
                    self._patch_conditions("pod", pod["metadata"]["name"], {**condition, "status": "False"})

    def _patch_conditions(self, kind: str, name: str, condition: Body) -> None:
        patch = json.dumps({"status": {"conditions": [condition]}})
        self.kubectl("patch", kind, name, "--subresource=status", "--type=strategic", "-p", patch)
