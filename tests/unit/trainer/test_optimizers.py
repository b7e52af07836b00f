"""The optimizers of a job, and their state in one form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from qlora_trainer.rank.optimizers import COMPILED_ADAM, make_optimizer, moments_of, parameter_groups, set_moments
from unit.trainer.pods import Gang


def model() -> torch.nn.Module:
    adapter = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(64, 70), "lora_B": torch.nn.Linear(70, 64)})
    adapter["base"] = torch.nn.Linear(3, 3).requires_grad_(False)
    return adapter


def job(folder: Path, **changes: Any) -> Any:
    return Gang(folder).new_pods(**changes)[0].job


def test_lora_plus_lets_b_learn_faster(tmp_path: Path) -> None:
    groups = parameter_groups(model(), job(tmp_path, adapter={"method": "lora-plus", "learningRateRatio": 8}))
    assert [(group["rate_factor"], len(group["params"])) for group in groups] == [(1.0, 2), (8.0, 2)]


def test_other_methods_have_one_rate(tmp_path: Path) -> None:
    (group,) = parameter_groups(model(), job(tmp_path))
    assert (group["rate_factor"], len(group["params"])) == (1.0, 4)


def test_trap_cpu_offload_needs_no_compiler_in_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """19: DeepSpeed would compile its Adam for the host when the first job asks for it."""
    from deepspeed.ops.op_builder.builder import OpBuilder

    def compile_it(*_: Any, **__: Any) -> None:
        raise AssertionError("compiles")

    monkeypatch.setattr(OpBuilder, "jit_load", compile_it)
    offloaded = job(tmp_path, deepspeed={"offloadOptimizer": "cpu"})
    optimizer: Any = make_optimizer(model(), offloaded)
    assert optimizer.ds_opt_adam.__name__ == COMPILED_ADAM


@pytest.mark.parametrize("config", [{}, {"optimizer": {"type": "AdamW", "params": {"betas": [0.8, 0.9], "eps": 1e-6}}}])
def test_adam_on_the_host_steps_like_adam_on_the_device(tmp_path: Path, config: dict[str, Any]) -> None:
    gang = Gang(tmp_path)
    training = {"weightDecay": 0.1}
    plain = gang.new_pods(training=training, deepspeed={"config": config})[0].job
    hosted = gang.new_pods(training=training, deepspeed={"offloadOptimizer": "cpu", "config": config})[0].job
    results = []
    for one in (plain, hosted):
        torch.manual_seed(0)
        weights = model()
        optimizer = make_optimizer(weights, one)
        for step in range(3):
            torch.manual_seed(step)
            for parameter in weights.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        results.append(weights["lora_A"].weight.detach())  # type: ignore[index, union-attr]
    assert torch.allclose(*results, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "error"), [("AdamW", 0.0), ("PagedAdamW32bit", 0.0), ("AdamW8bit", 0.02), ("PagedAdamW8bit", 0.02)]
)
def test_moments_survive_a_checkpoint(kind: str, error: float) -> None:
    """In 8 bits within the grid's own error: a hundredth of the largest value of a block."""
    from bitsandbytes import optim

    master = torch.nn.Parameter(torch.zeros(8192))
    generator = torch.Generator().manual_seed(0)
    moments = [torch.randn(8192, generator=generator), torch.rand(8192, generator=generator)]
    optimizer: Any = (torch.optim if kind == "AdamW" else optim).__dict__[kind]([master], lr=0.1)
    set_moments(optimizer, master, 7, *moments)
    assert optimizer.state[master]["step"] == 7
    assert len(optimizer.param_groups[0]["params"]) == 1
    for given, found in zip(moments, moments_of(optimizer, master), strict=True):
        assert (given - found).abs().max() <= error * given.abs().max()
        assert torch.equal(given, found) == (error == 0)
