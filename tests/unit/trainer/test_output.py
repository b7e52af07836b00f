"""What lies beside the adapter: the model card and where all of it comes from."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from qlora_api.job_file import JobFile
from qlora_trainer.rank.card import model_card
from qlora_trainer.rank.digests import FileDigests
from qlora_trainer.rank.history import append_start, read_starts
from unit.trainer.pods import Gang, spec

TRAINING = {"step": 6, "of": 6, "fromStep": 0, "loss": 1.25}


def job(attempt: int = 1, **changes: Any) -> JobFile:
    return JobFile.model_validate(
        {
            "name": "support-bot",
            "namespace": "default",
            "uid": "uid",
            "attempt": attempt,
            "hosts": ["a", "b"],
            "slots": 2,
            "terminationGracePeriodSeconds": 30,
            "spec": spec(**changes),
        }
    )


def test_the_hub_reads_the_card_of_a_hub_model() -> None:
    made = job(
        model={"source": "hf://org/base"},
        dataset={"source": None, "mix": [{"source": "hf://org/chats"}, {"source": "pvc://data/own"}]},
    )
    card = ModelCard(model_card(made, "0" * 40, TRAINING))
    assert card.data.to_dict() == {
        "base_model": "org/base",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "datasets": ["org/chats"],
        "tags": ["lora", "qlora", "base_model:adapter:org/base"],
    }
    assert f"`org/base` at {'0' * 40}" in card.text
    assert "`hf://org/chats`, `pvc://data/own`" in card.text
    assert 'PeftModel.from_pretrained(base, "this folder")' in card.text


def test_the_card_of_a_model_on_a_volume_links_nowhere() -> None:
    card = ModelCard(model_card(job(), None, TRAINING))
    assert card.data.base_model is None
    assert "lora (rank 4, alpha 32" in card.text
    assert "| last loss | 1.2500 nats a token |" in card.text
    assert "4 on 2 nodes, ZeRO-1" in card.text


def test_digests_are_those_of_the_models_files(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / name).write_text(name)
    assert FileDigests(tmp_path).result() == {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("config.json", "model.safetensors")
    }


def test_each_start_is_kept(tmp_path: Path) -> None:
    assert read_starts(tmp_path) == []
    append_start(tmp_path, job(), 0)
    append_start(tmp_path, job(attempt=2), 40)
    told = [(line["attempt"], line["fromStep"], line["nodes"], line["worldSize"]) for line in read_starts(tmp_path)]
    assert told == [(1, 0, 2, 4), (2, 40, 2, 4)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_provenance_names_model_data_versions_and_attempts(gang: Gang) -> None:
    gang.train(training={"maxSteps": 2})
    told = json.loads((gang.output / "adapter/provenance.json").read_text())
    weights = (gang.volumes / "models/tiny/model.safetensors").read_bytes()
    assert told["base"]["sha256"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    rows = (gang.volumes / "data/train.jsonl").read_bytes()
    assert told["dataset"]["sha256"] == hashlib.sha256(rows).hexdigest()
    assert told["versions"]["peft"] == version("peft")
    assert [(line["attempt"], line["worldSize"]) for line in told["attempts"]] == [(1, 1)]
    assert told["training"]["step"] == 2
    assert told["spec"]["training"]["maxSteps"] == 2
    assert ModelCard.load(gang.output / "adapter/README.md").data.library_name == "peft"
