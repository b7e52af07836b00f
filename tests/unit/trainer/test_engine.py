"""What DeepSpeed is asked for, and what it is kept from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepspeed.runtime import engine as deepspeed_engine

from qlora_trainer.rank import model as model_module
from qlora_trainer.rank.engine import deepspeed_config, skip_broadcast_of_frozen
from unit.trainer.pods import Gang


def test_the_config_is_the_job(tmp_path: Path) -> None:
    pod = Gang(tmp_path).new_pods(nodes=2, slots=2, training={"globalBatchSize": 16, "microBatchSize": 2})[0]
    config = deepspeed_config(pod.job, trained=1000)
    assert config["train_batch_size"] == 16
    assert config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"] * 4 == 16
    assert config["zero_optimization"] == {"stage": 1, "reduce_bucket_size": 1000}


@pytest.mark.parametrize(
    ("stage", "trained", "given", "bucket"),
    [(1, 1000, {}, 1000), (2, 10**9, {}, 20_000_000), (3, 10**9, {"reduce_bucket_size": 5e8}, 500_000_000)],
)
def test_trap_the_bucket_of_gradients_is_no_larger_than_they_are(
    tmp_path: Path, stage: int, trained: int, given: dict[str, Any], bucket: int
) -> None:
    """DeepSpeed allocates 5e8 elements, 2 GB, for an adapter of any size."""
    job = Gang(tmp_path).new_pods(deepspeed={"zeroStage": stage, "config": {"zero_optimization": given}})[0].job
    assert deepspeed_config(job, trained)["zero_optimization"]["reduce_bucket_size"] == bucket


def test_without_zero_there_is_no_bucket(tmp_path: Path) -> None:
    job = Gang(tmp_path).new_pods(deepspeed={"zeroStage": 0})[0].job
    assert deepspeed_config(job, 1000)["zero_optimization"] == {"stage": 0}


@pytest.mark.parametrize(("quantization", "stage", "host"), [("none", 3, True), ("none", 2, False), ("nf4", 3, False)])
def test_trap_a_base_that_does_not_fit_on_the_device_is_not_loaded_there(
    tmp_path: Path, quantization: str, stage: int, host: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 and 2: ZeRO-3 shares out what the device holds already."""
    job = Gang(tmp_path).new_pods(quantization={"type": quantization}, deepspeed={"zeroStage": stage})[0].job
    loaded: dict[str, Any] = {}
    base = torch.nn.Linear(1, 1)
    monkeypatch.setattr(
        model_module.AutoModelForCausalLM, "from_pretrained", lambda *_, **named: loaded.update(named) or base
    )
    model_module.load_base("folder", job.spec, torch.device("meta"))
    assert loaded["device_map"] == {"": "cpu" if host else torch.device("meta")}


def test_the_frozen_base_does_not_travel_through_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(2, 2))
    model[0].requires_grad_(False)
    skip_broadcast_of_frozen(model)
    sent: list[int] = []

    def broadcast(tensor: torch.Tensor, *_: Any, **__: Any) -> None:
        sent.append(tensor.numel() // 4)

    monkeypatch.setattr(deepspeed_engine.dist, "broadcast", broadcast)
    monkeypatch.setattr(deepspeed_engine.groups, "_get_broadcast_src_rank", lambda: 0)
    fake = SimpleNamespace(dist_backend="gloo", module=model, seq_data_parallel_group=None)
    deepspeed_engine.DeepSpeedEngine._broadcast_model(fake)
    assert sent == [4, 2]
