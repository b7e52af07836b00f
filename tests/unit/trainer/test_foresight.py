"""What a rank foresees of its GPU's memory, and what it makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qlora_api.estimate import Choice, Rows, estimate
from qlora_api.job_file import JobFile
from qlora_api.portion import Portion
from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.weights import read_folder_shapes
from qlora_trainer.rank import fit
from qlora_trainer.rank.fit import choice_for
from qlora_trainer.rank.foresight import foresee
from unit.trainer.pods import spec

GIB = 2**30


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shapes = {
        "model.embed_tokens.weight": [32_000, 512],
        "model.layers.0.self_attn.q_proj.weight": [512, 512],
        "model.layers.0.mlp.up_proj.weight": [2048, 512],
        "model.layers.0.mlp.down_proj.weight": [512, 2048],
        "model.layers.0.input_layernorm.weight": [512],
    }
    header: dict[str, Any] = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()
    }
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    sizes = {"hidden_size": 512, "num_attention_heads": 8, "vocab_size": 32_000, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    return tmp_path


def job(**training: Any) -> QLoRAJobSpec:
    return QLoRAJobSpec.model_validate(
        spec(
            node={"accelerator": "nvidia.com/gpu"},
            training={"kernels": "plain", "sequenceLength": 8192, "globalBatchSize": 8, **training},
        )
    )


def rows(*lengths: int, learned: float = 1.0) -> Any:
    told = torch.tensor(lengths)
    return SimpleNamespace(lengths=told, targets=(told * learned).long())


def test_without_a_gpu_there_is_nothing_to_foresee(tmp_path: Path) -> None:
    assert foresee(job(), tmp_path, rows(10), None) is None


def test_a_job_that_cannot_fit_is_refused_with_its_largest_part_and_what_to_write(model: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        foresee(job(microBatchSize=4), model, rows(100, 8000), 2 * GIB)
    assert caught.value.reason == Reason.GPU_OUT_OF_MEMORY
    assert "for logits and loss" in caught.value.message
    assert caught.value.message.endswith("write training.microBatchSize: 2")


def test_short_rows_are_no_reason_to_refuse_however_long_they_may_be(model: Path) -> None:
    predicted = foresee(job(microBatchSize=4), model, rows(100, 120), 8 * GIB)
    assert predicted is not None
    assert predicted < GIB


def test_what_is_not_learned_has_no_logits(model: Path) -> None:
    all_of_it = foresee(job(), model, rows(4000), 80 * GIB)
    little = foresee(job(), model, rows(4000, learned=0.1), 80 * GIB)
    assert all_of_it is not None
    assert little is not None
    assert little < all_of_it / 2


def test_a_model_of_an_unknown_kind_trains_without_a_prediction(model: Path) -> None:
    (model / "config.json").write_text("{}")
    assert foresee(job(), model, rows(100), GIB) is None


def needed(model: Path, choice: Choice, length: int = 4096) -> int:
    config = json.loads((model / "config.json").read_text())
    rows = Rows(length, choice.micro_batch * length)
    return estimate(job(fit="auto"), read_folder_shapes(model), config, choice, rows=rows).on_device


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_fit_takes_the_largest_micro_batch_that_fits_without_checkpointing(model: Path, size: int) -> None:
    memory = needed(model, Choice(size, False))
    assert choice_for(job(fit="auto"), model, rows(4096), memory) == Choice(size, False)


def test_fit_takes_checkpointing_where_nothing_fits_without(model: Path) -> None:
    memory = needed(model, Choice(1, False)) - 1
    assert choice_for(job(fit="auto"), model, rows(4096), memory) == Choice(1, True)
    assert choice_for(job(fit="auto"), model, rows(4096), GIB) == Choice(1, True), "the rank refuses it then"


def test_fit_keeps_a_wish_for_no_checkpointing(model: Path) -> None:
    assert choice_for(job(fit="auto", gradientCheckpointing=False), model, rows(4096), GIB) == Choice(1, False)


def test_fit_without_a_gpu_is_what_needs_least(model: Path) -> None:
    assert choice_for(job(fit="auto"), model, rows(4096), None) == Choice(1, True)


def test_fit_looks_at_the_rows_that_there_are(model: Path) -> None:
    memory = needed(model, Choice(1, True))
    assert choice_for(job(fit="auto"), model, rows(200), memory) == Choice(8, False)


@pytest.mark.parametrize("way", ["auto", "manual"])
def test_ranks_hold_what_their_attempt_was_told(model: Path, way: str) -> None:
    told = Portion(micro_batch_size=2, gradient_checkpointing=False)
    made = JobFile(
        name="job", namespace="default", uid="uid", attempt=2, slots=1, termination_grace_period_seconds=30,
        hosts=["one"], portion=told, spec=job(fit=way),
    )  # fmt: skip
    training = fit.fitted(made, model, rows(4096), torch.device("cpu")).spec.training
    assert (training.micro_batch_size, training.gradient_checkpointing) == (2, False)


def test_ranks_agree_on_the_smallest_gpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rank has room for all, the other for one sequence."""
    made = JobFile(
        name="job", namespace="default", uid="uid", attempt=1, slots=1, termination_grace_period_seconds=30,
        hosts=["one", "two"], spec=job(fit="auto"),
    )  # fmt: skip
    monkeypatch.setattr(fit, "gpu_bytes", lambda _: 80 * GIB)
    monkeypatch.setattr(fit.comm, "all_reduce", lambda tensor, op: tensor.fill_(needed(model, Choice(1, False))))
    training = fit.fitted(made, model, rows(4096), torch.device("cpu")).spec.training
    assert (training.micro_batch_size, training.gradient_checkpointing) == (1, False)
    assert training.global_batch_size == made.spec.training.global_batch_size
