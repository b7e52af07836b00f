"""A base of 4 bits that is shared out while it is read: the same numbers, and never the model in memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from matrix.cell import job_of
from qlora_api.estimate import estimate
from qlora_api.methods import Cell
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.fetch.weights import read_folder_shapes
from qlora_trainer.files import read_json
from qlora_trainer.rank.blueprint import Blueprint, difference
from qlora_trainer.rank.model import quantization_config
from unit.trainer.pods import Gang
from unit.trainer.ranks import run_worker
from unit.trainer.small_models import FAMILIES, build

MIB = 2**20
ROOM = 40 * MIB
"""For copies in float32 and what a heap does not give back: less than a third of what it would be whole."""
LARGE = {**FAMILIES["llama"], "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 40,
         "num_attention_heads": 8, "num_key_value_heads": 8}  # fmt: skip
RANKS = 2
EACH_ITS_OWN = {"MALLOC_MMAP_THRESHOLD_": "8192", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Memory goes back when a tensor does: peaks are of tensors that live, not of a heap with holes."""
CPU = torch.device("cpu")


def spec_of(**changes: Any) -> QLoRAJobSpec:
    return job_of(Cell("lora", "nf4", 3, False), RANKS, changes, "cpu").spec.model_copy(update={"nodes": RANKS})


class Measured:
    """What both ranks found, and the large model's sizes."""

    def __init__(self, folder: Path, tiny: Path) -> None:
        large = folder / "large"
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **LARGE), dtype=torch.bfloat16)
        model.save_pretrained(large, max_shard_size="50MB")
        self.weights = sum(parameter.numel() for parameter in model.parameters())
        self.files = len(list(large.glob("*.safetensors")))
        del model
        shapes, config = read_folder_shapes(large), read_json(large / "config.json") or {}
        phases = {phase.name: phase for phase in estimate(spec_of(), shapes, config).phases}
        self.predicted = phases["reading the base"].total
        outputs = [folder / f"{rank}.json" for rank in range(RANKS)]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in EACH_ITS_OWN.items():
                patch.setenv(name, value)
            run_worker("shards_worker.py", [[str(tiny), str(large), str(output)] for output in outputs])
        self.ranks: list[dict[str, Any]] = [json.loads(output.read_text()) for output in outputs]
        shutil.rmtree(large)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Measured:
    return Measured(tmp_path_factory.mktemp("shards"), tiny_model)


@pytest.mark.slow
def test_memory_holds_a_share_and_a_weight_and_never_the_model(measured: Measured) -> None:
    """The rest is what quantising takes on a CPU: some float32 copies of a weight, of 2 MiB each."""
    quantised, whole = measured.weights // 2, measured.weights * 5 // 2
    assert measured.files > 4
    assert measured.predicted < quantised
    for rank in measured.ranks:
        told = f"{rank['grown'] / MIB:.0f} MiB, {measured.predicted / MIB:.0f} foretold, {whole / MIB:.0f} whole"
        assert measured.predicted / 2 < rank["grown"] < measured.predicted + ROOM, told
        assert rank["grown"] < whole / 3, told


@pytest.mark.slow
def test_weights_constants_and_buffers_are_those_of_a_model_that_is_loaded_whole(measured: Measured) -> None:
    for rank in measured.ranks:
        assert not any(rank["differences"].values()), rank["differences"]
        assert len(rank["differences"]) == 3


@pytest.mark.slow
def test_training_has_the_losses_of_a_model_that_is_loaded_whole(measured: Measured) -> None:
    for rank in measured.ranks:
        assert rank["shares"] == rank["whole"]
        assert all(found[-1] != found[0] for found in rank["shares"].values())


@pytest.mark.slow
def test_packed_documents_are_kept_apart_where_no_rank_has_the_model(gang: Gang) -> None:
    (pod,) = gang.train(deepspeed={"zeroStage": 3}, training={"packing": True, "maxSteps": 2})
    assert pod.events("base_read_whole") == []
    assert pod.termination().outcome == "Succeeded"


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma3_text", "mixtral", "gpt2"])
def test_only_models_whose_files_are_their_weights_one_to_one_are_shared_out(tmp_path: Path, family: str) -> None:
    build(family).save_pretrained(tmp_path)
    spec = spec_of()
    quantization = quantization_config(spec)
    assert quantization is not None
    blueprint = Blueprint(tmp_path, quantization, torch.bfloat16, CPU)
    because = blueprint.why_not_one_by_one() or difference(blueprint.shapes, read_folder_shapes(tmp_path))
    assert (because is not None) == (family in ("mixtral", "gpt2")), because


@pytest.mark.parametrize(
    ("found", "because"),
    [
        ({"a.weight": (2, 3)}, None),
        ({}, "the files have no a.weight"),
        ({"a.weight": (2, 3), "b": ()}, "the model has no b"),
        ({"a.weight": (3, 2)}, "a.weight is 3 x 2 in the files and 2 x 3 in the model"),
    ],
)
def test_a_difference_between_files_and_model_is_named(found: dict[str, tuple[int, ...]], because: str | None) -> None:
    assert difference({"a.weight": (2, 3)}, found) == because
