from __future__ import annotations

import json
from pathlib import Path

import pytest

from unit.trainer.pods import Gang

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_one_rank_and_two_nodes_have_the_same_losses_and_adapter(tmp_path: Path, tiny_model: Path) -> None:
    alone = Gang(tmp_path / "alone", tiny_model)
    together = Gang(tmp_path / "together", tiny_model)
    (pod,) = alone.train(deepspeed={"zeroStage": 0}, training={"microBatchSize": 2})
    together.train(nodes=2, deepspeed={"zeroStage": 2}, training={"gradientCheckpointing": False})

    assert alone.losses() == pytest.approx(together.losses(), abs=1e-5)
    assert list(alone.losses()) == [1, 2, 3, 4, 5, 6]
    assert alone.losses()[6] < alone.losses()[1]

    termination = pod.termination()
    assert (termination.outcome, termination.step, termination.of) == ("Succeeded", 6, 6)
    assert termination.peak_memory_bytes is not None
    assert termination.peak_memory_bytes > 100 * 2**20

    from safetensors.torch import load_file

    one, two = (load_file(gang.output / "adapter/adapter_model.safetensors") for gang in (alone, together))
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4

    _loads_in_peft(tiny_model, alone.output / "adapter")


def _loads_in_peft(model: Path, adapter: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter)
    moved = [name for name, value in adapted.named_parameters() if "lora_B" in name and value.abs().sum() > 0]
    assert len(moved) == 14
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "pvc://models/tiny"
