"""A whole job that has no volume: model, dataset and results lie in a real S3 server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from safetensors.numpy import load

from object_storage.conftest import Place
from support.processes import wait_until
from unit.trainer.pods import ROWS, Gang
from unit.trainer.tiny_model import save_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 60


@pytest.fixture
def gang(tmp_path: Path) -> Iterator[Gang]:
    gang = Gang(tmp_path)
    yield gang
    for pod in gang.pods:
        pod.kill_all()


@pytest.fixture
def job(place: Place, tmp_path: Path) -> dict[str, Any]:
    """What of the spec is not on volumes."""
    save_model(tmp_path / "model")
    for file in (tmp_path / "model").iterdir():
        obstore.put(place.owner, f"models/tiny/{file.name}", file)
    obstore.put(place.owner, "data/train.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS).encode())
    return {
        "model": {"source": f"s3://{place.name}/models/tiny"},
        "dataset": {"source": f"s3://{place.name}/data/"},
        "output": {"destination": f"s3://{place.name}/out"},
        "objectStorage": {"endpoint": place.way.endpoint, "credentialsSecret": "store"},
    }


def get(place: Place, key: str) -> bytes:
    return bytes(obstore.get(place.owner, f"out/{key}").bytes())


def losses(place: Place) -> dict[int, float]:
    lines = [json.loads(line) for line in get(place, "log.jsonl").splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def published(place: Place) -> bool:
    """Whether a checkpoint counts."""
    return bool(json.loads(get(place, "attempt.json")).get("checkpoints"))


def test_a_job_without_a_volume_goes_on_on_other_nodes(place: Place, gang: Gang, job: dict[str, Any]) -> None:
    arguments = {**job, "nodes": 2, "checkpoint": {"every": "1s"}, "training": {"maxSteps": STEPS, "epochs": 1000}}
    pods = gang.new_pods(**arguments)
    for pod in pods:
        assert pod.fetch() == 0
        pod.start()
    wait_until("a checkpoint is in the bucket", lambda: published(place), timeout=300)
    for pod in pods:
        pod.kill_all()
        shutil.rmtree(pod.root / "work")

    resumed = gang.train(**arguments, attempt=2)
    ended = resumed[0].termination()
    assert (ended.outcome, ended.step) == ("Succeeded", STEPS)
    assert 0 < (ended.from_step or 0) < STEPS
    assert sorted(losses(place)) == list(range(1, STEPS + 1))
    assert load(get(place, "adapter/adapter_model.safetensors"))
    assert json.loads(get(place, "adapter/provenance.json"))["attempt"] == 2

    late = gang.train(**arguments, attempt=3)
    assert [(pod.termination().outcome, pod.termination().step) for pod in late] == [("Succeeded", STEPS)] * 2
    assert all(pod.events("already_finished") for pod in late), "nothing is trained twice"
