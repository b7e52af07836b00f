"""Which way through the layers is taken, and what is said if it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qlora_api.kernels import REFUSALS, refusal
from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fused import choice, router
from qlora_trainer.fused.agreement import answer, probe
from qlora_trainer.fused.choice import candidates, choose
from qlora_trainer.rank.loss import loss_sum
from qlora_trainer.rank.model import load_model
from support.admission import REFUSALS as REFUSED_JOBS
from unit.trainer.pods import Gang, spec
from unit.trainer.small_models import FAMILIES, build

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def job(**changes: Any) -> QLoRAJobSpec:
    return QLoRAJobSpec.model_validate(spec(**changes))


def load(folder: Path, kernels: str, **changes: Any) -> tuple[Any, QLoRAJobSpec]:
    found = job(training={"kernels": kernels, "gradientCheckpointing": False}, **changes)
    return load_model(str(folder), found, CPU), found


def test_the_fastest_way_is_tried_first_and_only_on_a_gpu_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "HAS_TRITON", True)
    assert candidates("auto", CUDA) == ("compiled", "fused")
    assert candidates("auto", CPU) == ()
    assert candidates("plain", CUDA) == ()
    assert candidates("fused", CPU) == ("fused",)


@pytest.mark.parametrize("kernels", ["fused", "compiled"])
@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_a_base_in_four_bits_agrees_with_peft(tiny_model: Path, kernels: str, storage: str) -> None:
    model, asked = load(tiny_model, kernels, quantization={"computeDtype": storage})
    batch = probe(model, True)
    plain = answer(model, loss_sum, batch)
    chosen = choose(model, asked, CPU, is_packed=True, agree=lambda yes: yes)
    assert chosen.kernels == kernels
    found = answer(model, chosen.loss_sum, batch)
    assert found.loss == pytest.approx(plain.loss, rel=1e-5 if storage == "float32" else 1e-2)
    assert model(input_ids=batch.input_ids).logits.shape == (*batch.input_ids.shape, 258), "as before for all others"


def test_what_the_crd_refuses_by_name_the_trainer_falls_back_for() -> None:
    sentences = {row.because for row in REFUSALS}
    refused = [changes for changes, words in REFUSED_JOBS.values() if words.startswith("training.kernels: fused and")]
    assert {refusal(job(**changes)) for changes in refused} == sentences
    assert refusal(job()) is None


def test_a_job_that_names_a_way_that_is_not_for_it_is_told_what_to_write(tiny_model: Path) -> None:
    model, asked = load(tiny_model, "fused", adapter={"dropout": 0.1})
    with pytest.raises(TrainerError, match=r"write adapter\.dropout: 0, or training\.kernels: plain") as error:
        choose(model, asked, CPU, is_packed=False, agree=lambda yes: yes)
    assert error.value.reason == Reason.USER_ERROR


def test_a_model_that_is_not_known_is_told_by_name_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(build("mixtral", FAMILIES["mixtral"]), LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(TrainerError, match=r"compiled: model_type mixtral.*write training\.kernels: auto"):
        choose(model, job(training={"kernels": "compiled"}), CPU, is_packed=True, agree=lambda yes: yes)
    monkeypatch.setattr(choice, "candidates", lambda *_: ("compiled", "fused"))
    chosen = choose(model, job(), CPU, is_packed=True, agree=lambda yes: yes)
    assert (chosen.kernels, chosen.is_first) == ("fused", False)


@pytest.mark.parametrize("agrees", [True, False])
def test_a_way_that_disagrees_here_or_on_another_rank_is_not_taken(
    tiny_model: Path, agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = load(tiny_model, "auto")
    monkeypatch.setattr(choice, "candidates", lambda *_: ("fused",))
    if agrees:
        monkeypatch.setattr(router, "loss_sum", lambda model, batch: 1.5 * loss_sum(model, batch))
    chosen = choose(model, asked, CPU, is_packed=False, agree=lambda yes: yes and agrees)
    assert chosen == ("plain", loss_sum, False)
    assert not [module for module in model.modules() if "forward" in module.__dict__]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_trains_and_its_adapter_is_named_as_ever(tmp_path: Path, tiny_model: Path) -> None:
    gang = Gang(tmp_path, tiny_model)
    (pod,) = gang.train(training={"maxSteps": 3, "kernels": "compiled"})
    assert pod.events("kernels")[0]["kernels"] == "compiled"
    losses = gang.losses()
    assert losses[3] < losses[1]
    names = load_file(gang.output / "adapter/adapter_model.safetensors").keys()
    assert len(names) == 28
    assert "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight" in names
