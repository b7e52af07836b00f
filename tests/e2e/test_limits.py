"""Jobs that outgrow what they are given, and one whose name is used again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from itertools import takewhile

import pytest
import yaml

from builders import Body, volume_bodies
from e2e.survivor import Survivor, small_job
from support.dev_cluster import RESULTS, VOLUMES, Team
from support.jobs import EVENT

USER = "10001"
"""As which the trainer runs."""

pytestmark = pytest.mark.timeout(600)


EAT_MEMORY = "import time; block = b'x' * (450 << 20); time.sleep(20)"
EATERS = f'for eater in 1 2 3 4 5 6; do python -c "{EAT_MEMORY}" & done; wait'
"""Takes more than a pod of the demo has to spare, in pieces that are smaller than a rank."""


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


def test_ranks_that_were_killed_for_memory_start_again_and_no_others_stand_by_beside_them(team: Team) -> None:
    team.apply(small_job("crowded", steps=10_000))
    crowded = Survivor(team, "crowded")
    crowded.train_on()
    names, uids = [pod["metadata"]["name"] for pod in crowded.pods()], crowded.pod_uids()
    team.kubectl("exec", names[0], "-c", "trainer", "--", "sh", "-c", EATERS)
    restart = crowded.wait_for_restart_in_place(1, timeout=90)
    assert (restart["reason"], restart["pod"]) == ("HostOutOfMemory", names[0])
    assert crowded.pod_uids() == uids
    crowded.train_on()
    assert ["standing_by" in events_since_the_last_launch(team, name) for name in names] == [False, True]
    team.kubectl("delete", "qlorajob", "crowded")


def events_since_the_last_launch(team: Team, pod: str) -> set[str]:
    lines = team.kubectl("logs", pod, "-c", "trainer").splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith('{"event"')]
    return set(takewhile(lambda event: event != "launched", reversed(events)))


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
