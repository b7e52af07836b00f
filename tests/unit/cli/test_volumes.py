"""Folders that stand for claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check import Refused
from qlora_cli.volumes import local_path, needed_volumes
from unit.trainer.pods import spec

HUB = QLoRAJobSpec.model_validate(spec(model={"source": "hf://org/base"}, dataset={"source": "hf://org/chats"}))


def test_a_job_from_the_hub_needs_a_folder_for_its_output_only(tmp_path: Path) -> None:
    given = {"results": tmp_path, "other": tmp_path / "x"}
    assert needed_volumes(HUB, given) == {"results": tmp_path}
    assert local_path(HUB.output.destination, given) == tmp_path / "out"


def test_each_missing_folder_is_named_with_the_flag(tmp_path: Path) -> None:
    mixed = spec(dataset={"source": None, "mix": [{"source": "pvc://a/x"}, {"source": "pvc://b/y"}]})
    mixed["dataset"].pop("source")
    with pytest.raises(Refused) as refused:
        needed_volumes(QLoRAJobSpec.model_validate(mixed), {"models": tmp_path, "a": tmp_path})
    assert refused.value.faults == [
        "dataset source pvc://b/y: no folder stands for the claim b; write --volume b=FOLDER",
        "output.destination: no folder stands for the claim results; write --volume results=FOLDER",
    ]


def test_held_out_rows_on_a_claim_need_a_folder_too(tmp_path: Path) -> None:
    held_out = QLoRAJobSpec.model_validate(spec(evaluation={"source": "pvc://rows/a.jsonl"}))
    with pytest.raises(Refused, match=r"evaluation\.source: no folder stands for the claim rows"):
        needed_volumes(held_out, {"models": tmp_path, "data": tmp_path, "results": tmp_path})
