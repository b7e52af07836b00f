"""Plays the user and the kubelets of one job. What it waits for it reads from the history, which asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builders import job_body
from faults.history import Body, History
from qlora_api import names
from qlora_operator.views import CONFIG_MAP, JOB, POD, QLORA_JOB, SERVICE, Kind
from support.jobs import EVENT, MERGE_PATCH, JobDriver
from support.kubectl import Cluster, NotFoundError
from support.processes import wait_until

PATIENCE = 150.0
"""Seconds for whatever a play waits for."""
NODES = 2
LANE = "lane"
"""Label of the nodes that one namespace has for itself."""


class Play(JobDriver):
    """One job, alone in its namespace but for those that have ended.

    Args:
        job: its name, without dashes or dots.
    """

    def __init__(self, cluster: Cluster, history: History, namespace: str, job: str) -> None:
        super().__init__(cluster, namespace)
        self._history = history
        self.job = job

    def get(self, kind: Kind, name: str) -> Body:
        found = self._history.objects(kind, self.namespace, self.job)
        if name not in found:
            raise NotFoundError(f"{kind.name} {name}")
        return found[name]

    def objects(self, kind: Kind, selector: str = "") -> list[Body]:
        return list(self._history.objects(kind, self.namespace, self.job).values())

    def create(self, **spec: Any) -> None:
        node = {"accelerator": "cpu", "nodeSelector": {LANE: self.namespace}}
        body = job_body(self.job, self.namespace, node=node, **spec)
        self.cluster.request("POST", QLORA_JOB.path(self.namespace), body)

    def create_foreign(self, kind: Kind, name: str) -> None:
        """An object of somebody else."""
        body = {"metadata": {"name": name, "namespace": self.namespace}}
        self.cluster.request("POST", kind.path(self.namespace), body)

    def delete(self, kind: Kind, name: str) -> None:
        self.cluster.request("DELETE", kind.path(self.namespace, name))

    def change_run_policy(self, **fields: Any) -> None:
        patch = {"spec": {"runPolicy": fields}}
        self.cluster.request("PATCH", QLORA_JOB.path(self.namespace, self.job), patch, MERGE_PATCH)

    def wait(self, what: str, holds: Callable[[Body], Any]) -> None:
        self.wait_for(self.job, what, holds, timeout=PATIENCE)

    def wait_until_training(self, attempt: int = 1) -> list[Body]:
        """The pods of an attempt, once they run and the status says so."""

        def trains(status: Body) -> bool:
            if status.get("phase") != "Running" or status["attempts"][-1]["number"] != attempt:
                return False
            return [pod["status"].get("phase") for pod in self._pods_of(attempt)] == ["Running"] * NODES

        self.wait(f"attempt {attempt} runs", trains)
        return self._pods_of(attempt)

    def _pods_of(self, attempt: int) -> list[Body]:
        return [pod for pod in self.pods(self.job) if pod["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempt)]

    def wait_until_gone(self) -> None:
        """Neither the job nor a child is left."""
        wait_until("nothing is left", lambda: not self.objects(QLORA_JOB) and not self.children(), timeout=PATIENCE)

    def wait_until_without_pods(self) -> None:
        wait_until("no pod", lambda: not self.pods(self.job), timeout=PATIENCE)

    def wait_until_childless(self) -> None:
        wait_until("no child", lambda: not self.children(), timeout=PATIENCE)

    def children(self) -> list[str]:
        """Kind and name of each child; of a pod, its attempt, index and phase."""
        found = [
            f"{kind.name} {body['metadata']['name']}"
            for kind in (SERVICE, CONFIG_MAP, JOB)
            for body in self.objects(kind)
        ]
        for pod in self.objects(POD):
            labels = pod["metadata"]["labels"]
            where = f"{labels[names.LABEL_ATTEMPT]}-{labels[names.LABEL_COMPLETION_INDEX]}"
            found.append(f"Pod {where} {pod['status'].get('phase')}")
        return sorted(found)

    def evict(self, pod: Body) -> None:
        """Ends a pod as a kubelet does whose node runs short of memory."""
        (container,) = pod["status"]["containerStatuses"]
        terminated = {"exitCode": 137, "reason": "Error", "finishedAt": pod["status"]["startTime"]}
        status = {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory.",
            "containerStatuses": [{**container, "ready": False, "state": {"terminated": terminated}}],
            "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}],
        }
        self.patch_status(POD, pod["metadata"]["name"], status, MERGE_PATCH)

    def events(self) -> list[str]:
        """Type and reason of each Event about the job."""
        query = f"?fieldSelector=involvedObject.kind={names.KIND},involvedObject.name={self.job}"
        items = self.cluster.request("GET", EVENT.path(self.namespace) + query)["items"]
        return sorted(f"{event['type']} {event['reason']}" for event in items)
