"""Jobs and models that do not go together, where one is for images: each is refused before anything is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import FAMILIES
from qlora_trainer.fetch.main import fetch
from qlora_trainer.fetch.model import check_model
from qlora_trainer.paths import PodPaths
from qlora_trainer.sources import ResolvedSources
from unit.trainer.pods import Gang
from unit.trainer.vqa import vqa_rows


@pytest.fixture
def llava(vlms: Path) -> Path:
    return vlms / "llava"


def fetched(folder: Path, model: Path, **changes: Any) -> ResolvedSources:
    gang = Gang(folder, model)
    gang.write_rows(vqa_rows(2, folder / "volumes/data"))
    (pod,) = gang.new_pods(**changes)
    return fetch(pod.job, PodPaths(pod.root))


def fault(folder: Path, model: Path, reason: Reason = Reason.USER_ERROR, **changes: Any) -> str:
    with pytest.raises(TrainerError) as error:
        fetched(folder, model, **changes)
    assert error.value.reason == reason
    return error.value.message


def test_a_vision_language_model_and_its_rows_are_accepted(tmp_path: Path, llava: Path) -> None:
    assert fetched(tmp_path, llava, adapter={"towers": {"vision": {"targets": "q_proj,fc1"}}}).dataset


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"adapter": {"rank": None, "method": "ia3"}}, "adapter.method: ia3 is for models of text; write lora, rslora"),
        ({"adapter": {"trainableTokens": ["a"]}}, "adapter.trainableTokens: for models of text only; remove it"),
        ({"adapter": {"modulesToSave": "norm"}}, "adapter.modulesToSave: for models of text only; write method: full"),
        ({"training": {"packing": True}}, "training.packing: images are not packed; write packing: false"),
        ({"deepspeed": {"zeroStage": 2}}, "deepspeed.zeroStage: 2 adds up gradients in the order in which they come"),
        ({"deepspeed": {"zeroStage": 3}}, "between ranks with and without an image; write zeroStage: 1"),
        ({"deepspeed": {"config": {"zero_optimization": {"overlap_comm": True}}}}, "without an image; write false"),
        ({"output": {"merge": True}}, "output.merge: an adapter of a vision-language model is not merged"),
        (
            {"adapter": {"towers": {"projector": {"targets": "q_proj"}}}},
            "adapter.towers.projector.targets: the projector tower has no linear module 'q_proj'; write all-linear, or "
            "some of linear_1, linear_2",
        ),
    ],
)
def test_what_does_not_go_together_with_images_is_named(
    tmp_path: Path, llava: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in fault(tmp_path, llava, **changes)


def test_a_projector_without_linear_modules_is_trained_whole(tmp_path: Path, vlms: Path) -> None:
    message = fault(tmp_path, vlms / "gemma3", adapter={"towers": {"projector": {}}})
    assert message == "adapter.towers.projector: it has no linear modules; write method: full"


def test_towers_of_a_model_of_text_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    message = fault(tmp_path, tiny_model, adapter={"towers": {"vision": {}}})
    assert message == "adapter.towers: the model of model.source has only a language model; remove towers"


def test_frozen_towers_of_a_model_of_text_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    message = fault(tmp_path, tiny_model, quantization={"frozenTowers": True})
    assert message == "quantization.frozenTowers: the model of model.source has no towers; remove frozenTowers"


def test_images_of_a_model_of_text_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    message = fault(tmp_path, tiny_model, dataset={"columns": {"images": "picture"}})
    assert message == "dataset.columns.images: the model of model.source reads no images; remove it"


def test_a_model_of_text_is_checked_without_libraries_for_images() -> None:
    program = "import sys, qlora_trainer.fetch.main; sys.exit(bool({'PIL', 'torch', 'transformers'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_model_without_its_processor_is_refused(tmp_path: Path, llava: Path) -> None:
    model = tmp_path / "a-model"
    shutil.copytree(llava, model)
    (model / "processor_config.json").unlink()
    message = fault(tmp_path, model, Reason.MODEL_INVALID)
    assert "has neither preprocessor_config.json nor processor_config.json, which say how images are read" in message


def test_a_missing_image_is_named_with_its_line(tmp_path: Path, llava: Path) -> None:
    gang = Gang(tmp_path, llava)
    rows = vqa_rows(2, gang.volumes / "data")
    gang.write_rows(rows)
    (gang.volumes / "data" / rows[1]["messages"][0]["content"][0]["image"]).unlink()
    (pod,) = gang.new_pods()
    with pytest.raises(
        TrainerError, match=r"train\.jsonl line 2: messages\[0\]\.content\[0\]: .* does not exist"
    ) as error:
        fetch(pod.job, PodPaths(pod.root))
    assert error.value.reason == Reason.DATASET_INVALID


def config_fault(folder: Path, config: dict[str, Any]) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainerError) as error:
        check_model("pvc://models/x", folder, needs_chat_template=False)
    assert error.value.reason == Reason.MODEL_INVALID
    return error.value.message


@pytest.mark.parametrize("kind", ["whisper", "speech_to_text", "qwen2_audio", "hubert", "wav2vec2"])
def test_a_speech_model_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    from transformers import AutoConfig

    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    begin = time.monotonic()
    message = config_fault(tmp_path, config)
    assert time.monotonic() - begin < 1
    assert message.startswith(f"model.source pvc://models/x: {kind} is a speech model, and rows hold no sound; write a")


def test_a_model_with_an_encoder_for_text_is_refused(tmp_path: Path) -> None:
    message = config_fault(tmp_path, {"model_type": "t5", "is_encoder_decoder": True})
    assert "t5 has an encoder and a decoder; write a causal language model, which only decodes" in message


def test_towers_that_are_not_known_are_never_guessed(tmp_path: Path) -> None:
    message = config_fault(tmp_path, {"model_type": "mllama", "vision_config": {"model_type": "mllama_vision_model"}})
    assert "which modules of mllama are its language model and its vision encoder is not known; write a" in message
    assert all(family in message for family in FAMILIES)
