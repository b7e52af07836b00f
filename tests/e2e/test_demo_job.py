"""The demo's job on two real nodes: from apply to an adapter that loads in PEFT."""

from __future__ import annotations

import json
import time
from statistics import fmean
from typing import Any

import pytest

from qlora_api import names
from support.audit import read_audit_log, tally
from support.dev_cluster import OPERATOR_USER, RESULTS, Team, example_job
from support.processes import wait_until

NAME = "smollm2-chat"


@pytest.fixture(scope="module")
def finished(team: Team) -> dict[str, Any]:
    """Applies the example and watches it to its end; what was seen on the way is kept."""
    began = time.time()
    team.apply(example_job())
    seen: dict[tuple[str, str], None] = {}
    pods: list[dict[str, Any]] = []
    deadline = time.monotonic() + 900
    status: dict[str, Any] = {}
    while status.get("phase") not in ("Succeeded", "Failed"):
        assert time.monotonic() < deadline, status
        status = team.status(NAME)
        progress = status.get("progress") or {}
        seen[progress.get("position", ""), str(progress.get("loss"))] = None
        pods = team.pods(NAME) or pods
        time.sleep(1)
    return {"began": began, "status": status, "seen": list(seen), "pods": pods}


@pytest.mark.timeout(1000)
def test_the_job_succeeds(finished: dict[str, Any]) -> None:
    assert finished["status"]["phase"] == "Succeeded", finished["status"]["conditions"]


def test_each_pod_trains_on_a_node_of_its_own(finished: dict[str, Any]) -> None:
    nodes = {pod["spec"]["nodeName"] for pod in finished["pods"]}
    assert nodes == {"node-1", "node-2"}


def test_step_and_loss_move_in_the_status(finished: dict[str, Any]) -> None:
    positions = [position for position, _ in finished["seen"] if position]
    losses = {loss for _, loss in finished["seen"] if loss != "None"}
    assert len(positions) > 5
    assert len(losses) > 5
    progress = finished["status"]["progress"]
    assert progress["position"] == f"{progress['of']}/{progress['of']}"


def test_the_loss_falls(finished: dict[str, Any]) -> None:
    losses = [json.loads(line)["loss"] for line in (RESULTS / NAME / "log.jsonl").read_text().splitlines()]
    assert len(losses) == finished["status"]["progress"]["of"]
    assert fmean(losses[-10:]) < 0.8 * fmean(losses[:3])


def test_the_ranks_met_as_one_world(team: Team, finished: dict[str, Any]) -> None:
    for pod in finished["pods"]:
        log = team.kubectl("logs", pod["metadata"]["name"], "-c", names.TRAINER_CONTAINER)
        assert '"world_size": 2' in log


def test_a_checkpoint_is_left(finished: dict[str, Any]) -> None:
    checkpoints = sorted((RESULTS / NAME / "checkpoints").iterdir())
    assert checkpoints
    assert all((checkpoint / "manifest.json").is_file() for checkpoint in checkpoints)
    assert not list((RESULTS / NAME).rglob("*.pt")), "nothing is pickled"


@pytest.mark.timeout(180)
def test_the_adapter_loads_in_peft_and_is_not_what_it_began_as(finished: dict[str, Any]) -> None:
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    adapter = RESULTS / NAME / "adapter"
    config = PeftConfig.from_pretrained(str(adapter))
    assert (config.r, config.lora_alpha) == (16, 32)
    base = AutoModelForCausalLM.from_pretrained(str(RESULTS.parent / "models" / "SmolLM2-135M-Instruct"))
    model = PeftModel.from_pretrained(base, str(adapter))
    trained = {name: value for name, value in model.named_parameters() if "lora_B" in name}
    assert len(trained) == 7 * base.config.num_hidden_layers
    assert all(float(value.abs().sum()) > 0 for value in trained.values())


def test_the_operator_writes_little(team: Team, finished: dict[str, Any]) -> None:
    log = read_audit_log(team.cluster.audit_log, OPERATOR_USER)
    requests = tally([r for r in log if r.namespace == team.namespace and r.received >= finished["began"]])
    patches = requests.pop("patch qlorajobs/status")
    assert requests == {"create services": 1, "create configmaps": 1, "create jobs": 1, "create events": 1}
    assert 3 < patches < 3 + len(finished["seen"]) * 3


def test_nothing_was_forbidden(team: Team, finished: dict[str, Any]) -> None:
    log = read_audit_log(team.cluster.audit_log, OPERATOR_USER)
    assert [request for request in log if request.code == 403] == []


@pytest.mark.timeout(120)
def test_deleting_the_finished_job_leaves_only_its_output(team: Team, finished: dict[str, Any]) -> None:
    team.kubectl("delete", "qlorajob", NAME)
    selector = f"{names.LABEL_JOB}={NAME}"
    wait_until(
        "children gone",
        lambda: team.kubectl("get", "jobs,pods,services,configmaps", "-l", selector, "-o", "name") == "",
        timeout=60,
    )
    assert (RESULTS / NAME / "adapter" / "adapter_model.safetensors").is_file()
