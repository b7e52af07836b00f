"""An adapter that does not fit the model is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from unit.trainer.pods import Gang


def fault(folder: Path, model: Path, adapter: dict[str, Any], **changes: Any) -> str:
    (pod,) = Gang(folder, model).new_pods(adapter={"rank": None, **adapter}, **changes)
    with pytest.raises(TrainerError) as error:
        fetch(pod.job, PodPaths(pod.root))
    assert error.value.reason == Reason.USER_ERROR
    return error.value.message


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        (
            {"method": "oft", "blockSize": 48},
            "adapter.blockSize: 48 does not divide the 128 inputs of model.layers.0.mlp.down_proj; write a divisor",
        ),
        (
            {"method": "pissa", "rank": 48, "targets": "k_proj"},
            "adapter.rank: 48 is more than model.layers.0.self_attn.k_proj has, whose weight is 32 x 64; "
            "write at most 32, or method: lora",
        ),
        (
            {"trainableTokens": ["<|im_start|>", "two words"]},
            "adapter.trainableTokens: 'two words' is not one token of the tokenizer",
        ),
        (
            {"modulesToSave": "norm,head"},
            "adapter.modulesToSave: the model has no module 'head' with weights; write some of down_proj, embed_tokens",
        ),
        (
            {"modulesToSave": "q_proj"},
            "adapter.modulesToSave: q_proj is quantised and cannot be trained whole; write it under adapter.targets",
        ),
        ({"method": "ia3", "targets": "k_proj,w2"}, "adapter.targets: the model has no linear module 'w2'"),
        ({"method": "prefix-tuning"}, "write training.gradientCheckpointing: false"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, tiny_model: Path, adapter: dict[str, Any], sentence: str) -> None:
    assert sentence in fault(tmp_path, tiny_model, adapter)


@pytest.mark.parametrize(
    ("adapter", "changes"),
    [
        ({"method": "oft", "blockSize": 16}, {}),
        ({"method": "ia3"}, {}),
        ({"method": "loftq", "rank": 32}, {}),
        ({"method": "prompt-tuning"}, {}),
        ({"trainableTokens": ["<|im_start|>"], "modulesToSave": "norm"}, {}),
        ({"modulesToSave": "lm_head,model.embed_tokens"}, {}),
        ({"modulesToSave": "q_proj", "targets": "v_proj"}, {"quantization": {"type": "none"}}),
    ],
)
def test_what_fits_is_let_through(
    tmp_path: Path, tiny_model: Path, adapter: dict[str, Any], changes: dict[str, Any]
) -> None:
    (pod,) = Gang(tmp_path, tiny_model).new_pods(adapter={"rank": None, **adapter}, **changes)
    fetch(pod.job, PodPaths(pod.root))
