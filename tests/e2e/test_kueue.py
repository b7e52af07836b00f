"""Real training in a queue of Kueue: preempted by a job of higher priority, resumed with no step lost or repeated."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.survivor import small_job
from qlora_operator.views import JOB
from support.dev_cluster import RESULTS, Team
from support.kubectl import ROOT
from support.processes import wait_until

pytestmark = pytest.mark.timeout(1200)

INSTALL = ROOT / "dev" / "cluster" / "kueue.sh"
QUEUE = "demo"
STEPS = 60
PATIENCE = 600.0


@pytest.fixture(scope="module")
def queue(team: Team) -> Iterator[str]:
    """A queue with room for one job of two nodes."""
    try:
        subprocess.run([INSTALL], check=True)
        team.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(queue_manifests(team.namespace)))
        yield QUEUE
        team.kubectl("delete", "qlorajobs", "low", "high", "--ignore-not-found")
    finally:
        subprocess.run([INSTALL, "remove"], check=True)


def queue_manifests(namespace: str) -> list[dict[str, Any]]:
    quota = [{"name": "cpu", "nominalQuota": "1"}, {"name": "memory", "nominalQuota": "8Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "default", "resources": quota}]}
    preemption = {"withinClusterQueue": "LowerPriority"}
    cluster_queue = {"namespaceSelector": {}, "preemption": preemption, "resourceGroups": [group]}
    manifests: list[dict[str, Any]] = [
        {"kind": "ResourceFlavor", "metadata": {"name": "default"}, "spec": {}},
        {"kind": "ClusterQueue", "metadata": {"name": QUEUE}, "spec": cluster_queue},
        {"kind": "LocalQueue", "metadata": {"name": QUEUE, "namespace": namespace}, "spec": {"clusterQueue": QUEUE}},
        {"kind": "WorkloadPriorityClass", "metadata": {"name": "low"}, "value": 1},
        {"kind": "WorkloadPriorityClass", "metadata": {"name": "high"}, "value": 100},
    ]
    return [{"apiVersion": "kueue.x-k8s.io/v1beta2", **manifest} for manifest in manifests]


def job(name: str) -> dict[str, Any]:
    """The same training for both. Checkpoints are written at the end only, and where a job is interrupted."""
    body = small_job(name, steps=STEPS, queueName=QUEUE, priorityClass=name)
    body["spec"]["checkpoint"] = {"every": "1h"}
    return body


def log_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RESULTS / name / "log.jsonl").read_text().splitlines()]


def step_of(status: dict[str, Any]) -> int:
    step: int = status.get("progress", {}).get("step", 0)
    return step


@pytest.fixture(scope="module")
def preempted(team: Team, queue: str) -> dict[str, Any]:
    """Runs `low`, lets `high` take its place in the middle, and waits for both; what was seen on the way is kept."""
    team.apply(job("low"))
    team.wait_for("low", "a few steps", lambda status: step_of(status) >= 5, timeout=PATIENCE)
    batch_job = team.get(JOB, "low-1")["metadata"]["uid"]
    team.apply(job("high"))
    waiting = team.wait_for_phase("low", "Queued", timeout=PATIENCE)
    wait_until("the pods of low to stop", lambda: team.pods("low") == [], timeout=PATIENCE)
    stopped_at = log_lines("low")[-1]["step"]
    checkpoints = sorted(path.name for path in (RESULTS / "low" / "checkpoints").iterdir())
    high = team.wait_for_phase("high", "Succeeded", timeout=PATIENCE)
    low = team.wait_for_phase("low", "Succeeded", timeout=PATIENCE)
    return {
        "waiting": waiting,
        "stopped_at": stopped_at,
        "checkpoints": checkpoints,
        "high": high,
        "low": low,
        "same_batch_job": team.get(JOB, "low-1")["metadata"]["uid"] == batch_job,
    }


def test_the_job_of_lower_priority_was_stopped_in_the_middle_with_a_checkpoint(preempted: dict[str, Any]) -> None:
    assert 5 <= preempted["stopped_at"] < STEPS
    assert preempted["checkpoints"] == [f"step-{preempted['stopped_at']}"]


def test_it_says_that_it_was_preempted_and_waits(preempted: dict[str, Any]) -> None:
    (record,) = preempted["waiting"]["attempts"]
    assert record["reason"] == "Requeued"
    assert "Preempted" in record["message"]


def test_it_went_on_at_the_same_step_in_the_same_batch_job(preempted: dict[str, Any]) -> None:
    first, second = preempted["low"]["attempts"]
    assert preempted["same_batch_job"]
    assert (first["number"], second["number"], second["reason"]) == (1, 1, "Succeeded")
    assert (second["fromStep"], first["lostSteps"]) == (preempted["stopped_at"], 0)
    assert 5 <= first["toStep"] <= preempted["stopped_at"]
    assert (preempted["low"]["restarts"], preempted["low"]["countedRestarts"]) == (0, 0)


def test_no_optimizer_step_is_lost_or_done_twice(preempted: dict[str, Any]) -> None:
    assert [line["step"] for line in log_lines("low")] == list(range(1, STEPS + 1))


def test_the_losses_are_those_of_a_run_that_nobody_disturbed(preempted: dict[str, Any]) -> None:
    assert len(preempted["high"]["attempts"]) == 1
    undisturbed = [line["loss"] for line in log_lines("high")]
    assert [line["loss"] for line in log_lines("low")] == pytest.approx(undisturbed, abs=1e-3)
