"""Questions about images, learned by two ranks: that the loss falls, and that neither a restart nor the number of ranks
changes anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from unit.trainer.pods import Gang, Pod
from unit.trainer.ranks import run
from unit.trainer.vqa import vqa_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STOP_AFTER = 3
TOWERS = {"language": {}, "projector": {"method": "full", "learningRate": 0.003}, "vision": {"rank": 2}}
EVALUATION = {"fraction": 0.2, "everySteps": 10, "samples": {"prompts": ["Red?"], "rows": 1, "maxNewTokens": 3}}


@pytest.fixture(scope="module")
def model(vlms: Path) -> Path:
    return vlms / "llava"


def job(gang: Gang, nodes: int = 2, attempt: int = 1, steps: int = 6, **more: Any) -> list[Pod]:
    """Every third row has no image, so that in some steps only one of the ranks sees."""
    rows = vqa_rows(24, gang.volumes / "data")
    for row in rows[::3]:
        row["messages"][0]["content"].pop(0)
    gang.write_rows(rows)
    training = {"epochs": 9, "maxSteps": steps, "globalBatchSize": 4, "sequenceLength": 128, "learningRate": 0.01}
    pods = gang.new_pods(
        nodes=nodes, attempt=attempt, training=training, **{"adapter": {"rank": 4, "towers": TOWERS}, **more}
    )
    for pod in pods:
        fetch(pod.job, PodPaths(pod.root))
    return pods


@pytest.fixture(scope="module")
def gangs(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, Gang]:
    folder = tmp_path_factory.mktemp("gangs")
    found = {name: Gang(folder / name, model) for name in ("long", "whole", "parts", "alone", "stage 0")}
    run(
        (job(found["long"], steps=30, evaluation=EVALUATION), None),
        (job(found["whole"]), None),
        (job(found["parts"]), STOP_AFTER),
        (job(found["parts"], attempt=2), None),
        (job(found["stage 0"], deepspeed={"zeroStage": 0}), None),
    )
    run((job(found["alone"], nodes=1), None))
    return found


def weights(gang: Gang) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(gang.output / "adapter/adapter_model.safetensors")
    return found


def test_the_loss_falls(gangs: dict[str, Gang]) -> None:
    losses = gangs["long"].losses()
    first, last = (sum(losses[step] for step in steps) for steps in (range(1, 6), range(26, 31)))
    assert last < 0.7 * first


def test_held_out_rows_are_evaluated_and_answered(gangs: dict[str, Gang]) -> None:
    lines = [json.loads(line) for line in (gangs["long"].output / "evaluation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[-1]["loss"] < lines[0]["loss"]
    samples = [json.loads(line) for line in (gangs["long"].output / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 6
    assert all("<image>" not in json.dumps(sample) for sample in samples)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(gangs: dict[str, Gang]) -> None:
    assert gangs["parts"].losses() == gangs["whole"].losses()
    parts, whole = weights(gangs["parts"]), weights(gangs["whole"])
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


@pytest.mark.parametrize("other", ["alone", "stage 0"])
def test_the_losses_do_not_depend_on_ranks_and_stage(gangs: dict[str, Gang], other: str) -> None:
    there, here = gangs[other].losses(), gangs["whole"].losses()
    assert there == pytest.approx(here, rel=1e-4)


def test_the_adapter_loads_as_its_card_says(gangs: dict[str, Gang], model: Path) -> None:
    card = ModelCard.load(gangs["whole"].output / "adapter/README.md")
    assert card.data.pipeline_tag == "image-text-to-text"
    assert "base = AutoModelForImageTextToText.from_pretrained(" in card.text
    assert "projector: full, learning rate 0.003; vision: lora (rank 2, alpha 32, targets all-linear)" in card.text
    base = AutoModelForImageTextToText.from_pretrained(model)
    loaded = PeftModel.from_pretrained(base, gangs["whole"].output / "adapter")
    projector = loaded.base_model.model.model.multi_modal_projector.linear_1
    saved = weights(gangs["whole"])["base_model.model.model.multi_modal_projector.linear_1.weight"]
    assert torch.equal(projector.modules_to_save["default"].weight, saved)
    assert not torch.equal(projector.original_module.weight, saved)


def test_a_checkpoint_holds_what_is_trained_and_no_more(gangs: dict[str, Gang]) -> None:
    (checkpoint, *_) = sorted((gangs["whole"].output / "checkpoints").glob("step-*"), reverse=True)
    trained = sum(value.numel() * value.element_size() for value in weights(gangs["whole"]).values())
    held = sum(file.stat().st_size for file in checkpoint.rglob("*.safetensors"))
    assert held == pytest.approx(3 * trained, rel=0.3)
