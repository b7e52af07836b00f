"""Ranks that run out of memory say with what, and go on from the checkpoint with less at once, to the same result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qlora_api.portion import Portion
from qlora_api.report import Termination
from qlora_operator.plan.ladder import step_down
from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from unit.trainer.pods import Gang, Pod
from unit.trainer.ranks import run_worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def job(gang: Gang, attempt: int, portion: Portion | None = None) -> Pod:
    training = {"globalBatchSize": 8, "microBatchSize": 4, "onGPUOutOfMemory": "halve-micro-batch"}
    training |= {"epochs": 9, "maxSteps": 4}
    (pod,) = gang.new_pods(attempt=attempt, training=training)
    pod.job = pod.job.model_copy(update={"portion": portion})
    (pod.root / "job/job.json").write_text(json.dumps(pod.job.to_json()))
    fetch(pod.job, PodPaths(pod.root))
    return pod


def outcome(pod: Pod) -> Termination:
    return Termination.model_validate_json((pod.root / "outcome.json").read_bytes())


def test_an_attempt_with_half_of_the_micro_batch_goes_on_to_the_same_result(tmp_path: Path, tiny_model: Path) -> None:
    whole, parts = Gang(tmp_path / "whole", tiny_model), Gang(tmp_path / "parts", tiny_model)
    half = Portion(micro_batch_size=2, gradient_checkpointing=True)
    undisturbed, first, second = job(whole, 1), job(parts, 1), job(parts, 2)
    third = job(parts, 3, half)
    what = ((undisturbed, "4"), (first, "stop"), (second, "2"), (third, "2"))
    run_worker("small_gpu_worker.py", [[f"{pod.root}:{how}" for pod, how in what]])

    words = outcome(second)
    assert (words.reason, words.micro_batch_size, words.gradient_checkpointing) == ("GPUOutOfMemory", 4, True)
    assert words.message.startswith("CUDA out of memory. Tried to allocate 2.00 GiB.")
    less = step_down(second.job.spec, words.reason, words, None)
    assert less is not None
    assert less.portion == half
    assert (outcome(third).outcome, outcome(third).from_step) == ("Succeeded", 1)
    assert parts.losses() == pytest.approx(whole.losses(), abs=1e-5)
    expected = load_file(whole.output / "adapter/adapter_model.safetensors")
    found = load_file(parts.output / "adapter/adapter_model.safetensors")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
