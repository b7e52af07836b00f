"""A job that is disturbed while it trains, and what can be seen of it."""

from __future__ import annotations

import json
from typing import Any

from dev.demo.cluster import OPERATOR_NAMESPACE, RELEASE

from qlora_api import names
from support.dev_cluster import RESULTS, Team, example_job
from support.jobs import Body
from support.nodes import Node
from support.processes import wait_until

PATIENCE = 300.0
"""Seconds for whatever is waited for."""


def small_job(name: str, steps: int = 50, **spec: Any) -> Body:
    """The demo's job with short steps, each of which is the same however many follow, and many checkpoints."""
    body = example_job(name, output={"destination": f"pvc://results/{name}"}, checkpoint={"every": "5s"}, **spec)
    body["spec"]["training"] |= {
        "maxSteps": steps,
        "globalBatchSize": 2,
        "microBatchSize": 1,
        "sequenceLength": 64,
        "schedule": "constant",
        "warmupRatio": 0,
    }
    return body


class Survivor:
    """One job of the team."""

    def __init__(self, team: Team, name: str) -> None:
        self.team = team
        self.name = name

    @property
    def status(self) -> Body:
        return self.team.status(self.name)

    @property
    def step(self) -> int:
        return int((self.status.get("progress") or {}).get("step", 0))

    @property
    def attempts(self) -> list[Body]:
        return list(self.status.get("attempts", []))

    @property
    def restarts_in_place(self) -> list[Body]:
        return list(self.attempts[-1].get("restartsInPlace") or [])

    def pods(self) -> list[Body]:
        """Those of the newest attempt, by completion index."""
        number = str(self.attempts[-1]["number"])
        pods = self.team.pods(self.name)
        return [pod for pod in pods if pod["metadata"]["labels"][names.LABEL_ATTEMPT] == number]

    def pod_uids(self) -> list[str]:
        return [pod["metadata"]["uid"] for pod in self.pods()]

    def node(self, completion_index: int) -> Node:
        return Node(self.pods()[completion_index]["spec"]["nodeName"])

    def process(self, completion_index: int, words: str) -> int:
        return self.node(completion_index).process(self.pod_uids()[completion_index], words)

    def index_away_from_the_operator(self) -> int:
        """Completion index of a pod on a node whose loss leaves the operator alone."""
        where = ("-n", OPERATOR_NAMESPACE, "get", "pods", "-l", f"app.kubernetes.io/instance={RELEASE}")
        taken = self.team.cluster.kubectl(*where, "-o", "jsonpath={.items[0].spec.nodeName}")
        return next(i for i, pod in enumerate(self.pods()) if pod["spec"]["nodeName"] != taken)

    def wait(self, what: str, holds: Any, timeout: float = PATIENCE) -> Body:
        return self.team.wait_for(self.name, what, holds, timeout)

    def train_on(self, steps: int = 3) -> None:
        """Waits until steps have been done that no earlier attempt or restart has done, and a checkpoint of one."""
        goal = max([self.step, *(attempt.get("toStep") or 0 for attempt in self.attempts)]) + steps

        def has_trained(status: Body) -> bool:
            progress = status.get("progress") or {}
            return status.get("phase") == "Running" and goal <= min(
                progress.get("step", 0), progress.get("lastCheckpointStep") or 0
            )

        self.wait(f"a checkpoint of step {goal} or later", has_trained)

    def wait_for_the_next_attempt(self) -> Body:
        """Waits until an attempt trains that is newer than the last one to have done so; returns the one before it."""
        number = max(attempt["number"] for attempt in self.attempts if attempt.get("fromStep") is not None)

        def trains(status: Body) -> bool:
            newest = status["attempts"][-1]
            is_open = newest.get("completionTime") is None and newest.get("fromStep") is not None
            return bool(newest["number"] > number and is_open)

        return dict(self.wait(f"an attempt after {number} trains", trains)["attempts"][-2])

    def wait_for_restart_in_place(self, number: int, timeout: float = PATIENCE) -> Body:
        """The restart's record, once the ranks have gone on."""

        def record(status: Body) -> Body | None:
            restarts = status["attempts"][-1].get("restartsInPlace") or []
            found = restarts[number - 1] if len(restarts) >= number else {}
            return found if found.get("fromStep") is not None else None

        wait_until(f"restart in place {number} of {self.name}", lambda: record(self.status), timeout)
        found = record(self.status)
        assert found is not None
        return found

    def losses(self) -> dict[int, list[float]]:
        """Of each step, in the order in which it was done; more than one where it was done again."""
        losses: dict[int, list[float]] = {}
        for line in (RESULTS / self.name / "log.jsonl").read_text().splitlines():
            row = json.loads(line)
            losses.setdefault(row["step"], []).append(row["loss"])
        return losses
