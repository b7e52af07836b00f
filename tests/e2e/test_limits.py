"""Jobs that outgrow what they are given, and one whose name is used again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import yaml

from builders import Body, volume_bodies
from e2e.survivor import Survivor, small_job
from support.dev_cluster import RESULTS, VOLUMES, Team
from support.jobs import EVENT

USER = "10001"
"""As which the trainer runs."""

pytestmark = pytest.mark.timeout(600)


def failure(status: Body) -> Body:
    return next(condition for condition in status["conditions"] if condition["type"] == "Failed")


@pytest.fixture
def small_claim(team: Team) -> Iterator[str]:
    """A volume of 4 MiB, less than one checkpoint."""
    folder = VOLUMES / "small"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=4m,uid={USER},gid={USER}", "small", folder], check=True)
    volume, claim = volume_bodies(team.namespace, "small")
    volume["spec"]["hostPath"]["path"] = str(folder)
    team.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([volume, claim]))
    yield "small"
    team.cluster.kubectl("delete", "-f", "-", input=yaml.safe_dump_all([claim, volume]))
    subprocess.run(["umount", folder], check=True)


def test_a_job_that_needs_more_memory_than_it_has_says_which_field_to_raise(team: Team) -> None:
    node = {"slots": 1, "accelerator": "cpu", "resources": {"cpu": "500m", "memory": "640Mi"}}
    team.apply(small_job("hungry", node=node, runPolicy={"maxRestarts": 0}))
    found = failure(team.wait_for_phase("hungry", "Failed", timeout=300))
    assert found["reason"] == "HostOutOfMemory"
    assert "node.resources.memory" in found["message"]
    team.kubectl("delete", "qlorajob", "hungry")


def test_a_full_volume_ends_the_job_and_is_not_tried_again(team: Team, small_claim: str) -> None:
    job = small_job("verbose")
    job["spec"]["output"]["destination"] = f"pvc://{small_claim}/verbose"
    team.apply(job)
    status = team.wait_for_phase("verbose", "Failed", timeout=300)
    assert failure(status)["reason"] == "DiskFull"
    assert "output" in failure(status)["message"]
    assert status["restarts"] == 0
    team.kubectl("delete", "qlorajob", "verbose", "--cascade=foreground")


def test_a_job_that_is_deleted_and_made_anew_under_its_name_trains_from_the_beginning(team: Team) -> None:
    body = small_job("again", steps=20)
    team.apply(body)
    again = Survivor(team, "again")
    again.train_on()
    uid = team.kubectl("get", "qlorajob", "again", "-o", "jsonpath={.metadata.uid}")
    team.kubectl("delete", "qlorajob", "again", "--wait=false")
    team.apply(body)
    status = team.wait_for_phase("again", "Succeeded", timeout=500)
    assert len(status["attempts"]) == 1
    assert list(again.losses()) == list(range(1, 21))
    assert (RESULTS / "again" / "previous" / uid / "log.jsonl").is_file()
    warnings = [event for event in team.objects(EVENT) if event["type"] == "Warning"]
    assert not [e for e in warnings if e["involvedObject"]["name"] == "again" and e["reason"] == "NameConflict"]
    team.kubectl("delete", "qlorajob", "again")
