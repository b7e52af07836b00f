"""How a job's pods share one machine."""

from __future__ import annotations

import os
from typing import Any

import pytest

from qlora_api.spec import QLoRAJobSpec
from qlora_cli import machine
from qlora_cli.check import Refused
from qlora_cli.hosts import free_ports, loopback_hosts
from unit.trainer.pods import spec


def job(nodes: int, slots: int, accelerator: str = "nvidia.com/gpu", **node: Any) -> QLoRAJobSpec:
    made = spec(nodes=nodes, node={"slots": slots, "accelerator": accelerator, **node})
    return QLoRAJobSpec.model_validate(made)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(machine, "_visible_gpus", lambda: request.param)


@pytest.mark.parametrize("gpus", [["4", "5", "6", "7"]], indirect=True)
@pytest.mark.usefixtures("gpus")
def test_each_pod_has_gpus_of_its_own() -> None:
    assert machine.devices(job(nodes=2, slots=2)) == [["4", "5"], ["6", "7"]]
    assert machine.devices(job(nodes=3, slots=1)) == [["4"], ["5"], ["6"]]


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        (["0", "1"], r"nodes x spec.node.slots is 4, and this machine has 2 GPUs; write at most 2 slots in all"),
        ([], r"is 4, and this machine has 0 GPUs; write node.accelerator: cpu"),
    ],
    indirect=["gpus"],
)
@pytest.mark.usefixtures("gpus")
def test_more_slots_than_gpus_are_refused(words: str) -> None:
    with pytest.raises(Refused, match=words):
        machine.devices(job(nodes=2, slots=2))


def test_pods_without_a_gpu_have_none() -> None:
    assert machine.devices(job(nodes=2, slots=1, accelerator="cpu")) == [[], []]


def test_ranks_share_the_cores_unless_the_job_says_how_many_a_pod_has() -> None:
    cores = len(os.sched_getaffinity(0))
    assert machine.threads(job(1, 1, "cpu", resources={})) == cores
    assert machine.threads(job(1, 16, "cpu", resources={})) == max(1, cores // 16)
    assert machine.threads(job(1, 1, "cpu", resources={"cpu": 3})) is None


def test_each_pod_has_an_address_of_its_own() -> None:
    hosts = loopback_hosts(512)
    assert (hosts[0], hosts[1], hosts[-1]) == ("127.0.0.1", "127.0.0.2", "127.0.2.0")
    assert len(set(hosts)) == 512


def test_the_two_ports_differ() -> None:
    one, other = free_ports()
    assert one != other
