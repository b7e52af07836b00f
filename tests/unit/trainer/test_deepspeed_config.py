"""The user's own DeepSpeed configuration: taken over, handed on, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_trainer.deepspeed_config import adam_parameters, handed_on, with_deepspeed_config
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.command import run_fetch
from qlora_trainer.job import load_job
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank.engine import deepspeed_config
from unit.trainer.pods import Gang

PUBLISHED = {
    "train_micro_batch_size_per_gpu": 4,
    "optimizer": {"type": "Adam", "params": {"lr": 1e-4, "betas": [0.9, 0.95], "eps": 1e-8}},
    "zero_optimization": {
        "stage": 1,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
        "overlap_comm": False,
        "contiguous_gradients": False,
    },
}
AUTOMATIC = {
    "fp16": {"enabled": "auto", "loss_scale": 0, "initial_scale_power": 16},
    "bf16": {"enabled": "auto"},
    "train_micro_batch_size_per_gpu": "auto",
    "train_batch_size": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": "auto", "warmup_max_lr": "auto"}},
    "zero_optimization": {
        "stage": 2,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "sub_group_size": 1e9,
        "reduce_bucket_size": "auto",
    },
}


HALVES = {"microBatchSize": 8, "onGPUOutOfMemory": "halve-micro-batch"}


def job(folder: Path, config: dict[str, Any], nodes: int = 2, **changes: Any) -> JobFile:
    training = {"globalBatchSize": 16, "learningRate": 2e-4, **changes.pop("training", {})}
    deepspeed = {**changes.pop("deepspeed", {}), "config": config}
    return Gang(folder).new_pods(nodes=nodes, training=training, deepspeed=deepspeed, **changes)[0].job


def refused(folder: Path, config: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(TrainerError) as error:
        with_deepspeed_config(job(folder, config, **changes))
    assert error.value.reason == Reason.USER_ERROR
    return error.value.message


def test_the_published_recipe_is_taken_over(tmp_path: Path) -> None:
    """Micro-batch, Adam, and ZeRO-1 with the optimizer in pinned memory of the host."""
    merged = with_deepspeed_config(job(tmp_path, PUBLISHED))
    assert merged.spec.training.micro_batch_size == 4
    assert merged.spec.training.learning_rate == 1e-4
    assert merged.spec.deepspeed.offload_optimizer == "cpu"
    assert merged.gradient_accumulation_steps == 2
    assert adam_parameters(PUBLISHED) == {"betas": [0.9, 0.95], "eps": 1e-8}
    config = deepspeed_config(merged, trained=1000)
    assert config["zero_optimization"] == {**PUBLISHED["zero_optimization"], "reduce_bucket_size": 1000}
    assert config["train_micro_batch_size_per_gpu"] == 4
    assert config["train_batch_size"] == 16
    assert "optimizer" not in config


def test_trap_deepspeed_json_disagrees_with_the_job_auto_is_the_job_s(tmp_path: Path) -> None:
    """18: a zero2.json in which all but the stage is `auto`."""
    merged = with_deepspeed_config(job(tmp_path, AUTOMATIC))
    assert merged.spec.deepspeed.zero_stage == 2
    config = deepspeed_config(merged, trained=1000)
    assert "auto" not in json.dumps(config)
    assert not {"bf16", "fp16", "scheduler", "optimizer"} & set(config)
    assert config["zero_optimization"] == {
        "stage": 2,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "sub_group_size": 1e9,
        "reduce_bucket_size": 1000,
    }


@pytest.mark.parametrize(
    ("config", "changes", "sentence"),
    [
        (
            {"train_micro_batch_size_per_gpu": 4},
            {"training": {"microBatchSize": 2}},
            "deepspeed.config.train_micro_batch_size_per_gpu: 4 contradicts training.microBatchSize: 2; write the same",
        ),
        (
            {"zero_optimization": {"stage": 3}},
            {"deepspeed": {"zeroStage": 2}},
            "deepspeed.config.zero_optimization.stage: 3 contradicts deepspeed.zeroStage: 2",
        ),
        (
            {"gradient_clipping": 0.5},
            {"training": {"maxGradientNorm": 2.0}},
            "gradient_clipping: 0.5 contradicts training.maxGradientNorm: 2.0",
        ),
        (
            {"fp16": {"enabled": True}},
            {"quantization": {"computeDtype": "bfloat16"}},
            "fp16.enabled: true contradicts quantization.computeDtype: bfloat16",
        ),
        (
            {"gradient_accumulation_steps": 3},
            {"training": {"globalBatchSize": 8}},
            "gradient_accumulation_steps: 3 x training.microBatchSize: 1 x 2 ranks contradicts",
        ),
        (
            {"train_micro_batch_size_per_gpu": 2},
            {"training": {"fit": "auto"}},
            "train_micro_batch_size_per_gpu: 2 contradicts training.fit: auto",
        ),
        ({"train_micro_batch_size_per_gpu": 3}, {}, "3 x 2 ranks does not divide training.globalBatchSize: 16"),
        ({"train_micro_batch_size_per_gpu": 0}, {}, "train_micro_batch_size_per_gpu: 0: Input should be greater"),
        ({"optimizer": {"type": "OneBitAdam"}}, {}, "optimizer.type: OneBitAdam is not available; write AdamW"),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}}},
            {},
            "scheduler.params.warmup_num_steps: 10 has no effect here; remove scheduler",
        ),
        (
            {"zero_optimization": {"offload_param": {"device": "nvme"}}},
            {},
            "offload_param.device: nvme is not available; write cpu or none",
        ),
        (
            {"communication_data_type": "fp32"},
            {"deepspeed": {"communicationDtype": "bfloat16"}},
            "deepspeed.config.communication_data_type: fp32 contradicts deepspeed.communicationDtype: bfloat16",
        ),
        (
            {"communication_data_type": "bf16"},
            {"deepspeed": {"communicationDtype": "auto"}},
            "communication_data_type: bf16 contradicts deepspeed.communicationDtype: auto; write the same, or",
        ),
        (
            {"communication_data_type": "fp16"},
            {},
            "deepspeed.config.communication_data_type: fp16 is not available; write bf16 or fp32",
        ),
        ({"elasticity": {"enabled": True}}, {}, "deepspeed.config.elasticity does not go together with this trainer"),
        (
            {"zero_optimization": {"zero_quantized_gradients": True}},
            {},
            "zero_optimization.zero_quantized_gradients does not go together",
        ),
        (
            {"fp16": {"enabled": True}},
            {"quantization": {"computeDtype": None}},
            "quantization.computeDtype: float16 needs a GPU; write bfloat16 or float32",
        ),
        (
            {"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}},
            {"deepspeed": {"zeroStage": 2}},
            "offloadParameters: cpu needs zeroStage 3; write zeroStage: 3",
        ),
        ({"zero_optimization": 2}, {}, "deepspeed.config.zero_optimization: 2 is no object"),
        (
            {"train_micro_batch_size_per_gpu": 8},
            {"training": HALVES},
            "deepspeed.config.train_micro_batch_size_per_gpu: 8 would not stay so with training.onGPUOutOfMemory: "
            "halve-micro-batch; write train_micro_batch_size_per_gpu: auto, and training.microBatchSize instead",
        ),
        (
            {"gradient_accumulation_steps": 1},
            {"training": HALVES},
            "write gradient_accumulation_steps: auto, and training.globalBatchSize instead",
        ),
        (
            {"train_batch_size": 32},
            {"training": HALVES},
            "write train_batch_size: auto, and training.globalBatchSize instead",
        ),
    ],
)
def test_trap_deepspeed_json_disagrees_with_the_job_a_contradiction_is_refused(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in refused(tmp_path, config, **changes)


def test_the_batch_that_the_job_names_too_goes_together_with_a_micro_batch_that_is_halved(tmp_path: Path) -> None:
    merged = with_deepspeed_config(job(tmp_path, {**AUTOMATIC, "train_batch_size": 16}, training=HALVES))
    assert (merged.spec.training.global_batch_size, merged.spec.training.micro_batch_size) == (16, 8)


def test_accumulation_gives_the_batch_that_the_job_leaves_open(tmp_path: Path) -> None:
    merged = with_deepspeed_config(
        job(tmp_path, {"gradient_accumulation_steps": 5, "train_micro_batch_size_per_gpu": 2})
    )
    assert merged.spec.training.global_batch_size == 20
    assert merged.gradient_accumulation_steps == 5


@pytest.mark.parametrize(
    ("told", "given", "sent"),
    [
        (None, None, "fp32"),
        ("bfloat16", None, "bf16"),
        (None, "bf16", "bf16"),
        ("bfloat16", "BF16", "bf16"),
        ("bfloat16", "auto", "bf16"),
        (None, "auto", "fp32"),
    ],
)
def test_gradients_travel_as_job_or_configuration_say(
    tmp_path: Path, told: str | None, given: str | None, sent: str
) -> None:
    changes = {"deepspeed": {"communicationDtype": told}} if told else {}
    merged = with_deepspeed_config(job(tmp_path, {"communication_data_type": given} if given else {}, **changes))
    assert deepspeed_config(merged, trained=1000)["communication_data_type"] == sent


def test_what_only_deepspeed_knows_is_handed_on() -> None:
    config = {"wall_clock_breakdown": True, "gradient_clipping": 1.0, "zero_optimization": {"reduce_bucket_size": 5e8}}
    assert handed_on(config) == {"wall_clock_breakdown": True, "zero_optimization": {"reduce_bucket_size": 5e8}}


def test_a_contradiction_ends_the_job_while_it_fetches(tmp_path: Path) -> None:
    (pod,) = Gang(tmp_path).new_pods(deepspeed={"config": {"elasticity": {}}})
    assert run_fetch(PodPaths(pod.root)) == 1
    assert pod.termination().reason == Reason.USER_ERROR


def test_a_stage_of_the_configuration_is_checked_with_the_method(tmp_path: Path, tiny_model: Path) -> None:
    """The CRD's rules do not see into the configuration."""
    config = {"zero_optimization": {"stage": 3}}
    (pod,) = Gang(tmp_path, tiny_model).new_pods(deepspeed={"config": config}, adapter={"method": "adalora"})
    assert run_fetch(PodPaths(pod.root)) == 1
    assert "write deepspeed.zeroStage: 2" in pod.termination().message


def test_every_process_of_a_pod_sees_the_same_job(tmp_path: Path) -> None:
    (pod,) = Gang(tmp_path).new_pods(deepspeed={"config": PUBLISHED}, training={"learningRate": 2e-4})
    assert load_job(PodPaths(pod.root)).spec.training.micro_batch_size == 4
