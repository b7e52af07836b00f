"""A merged model is the base with its adapter, to plain transformers, and was never whole in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from qlora_api.methods import MERGEABLE
from qlora_api.spec import AdapterSpec, QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.adapter import check_adapter
from qlora_trainer.rank.adapter import adapter_config
from qlora_trainer.rank.merge import merge_adapter
from unit.trainer.pods import Gang, spec
from unit.trainer.small_models import FAMILIES, build
from unit.trainer.tiny_model import make_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IDS = torch.arange(1, 25).reshape(2, 12)
ROUNDING = 0.05
"""Of a logit's size: bfloat16 has 8 bits, and two layers add up what is lost."""


def save_adapted(folder: Path, base: Any, adapter: AdapterSpec, token_ids: list[int] | None = None) -> Path:
    """An adapter that changes a lot, as after long training."""
    model = get_peft_model(base, adapter_config(adapter, 42, token_ids or []))
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def save_base(folder: Path, family: str = "llama", **arguments: Any) -> Path:
    build(family).save_pretrained(folder, **arguments)
    make_tokenizer().save_pretrained(folder)
    GenerationConfig(max_new_tokens=7).save_pretrained(folder)
    return folder


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@torch.no_grad()
def distance(one: Any, other: Any) -> float:
    """Of the logits, as a part of their size."""
    a, b = one(input_ids=IDS).logits, other(input_ids=IDS).logits
    return float((a - b).norm() / a.norm())


def check(base: Path, adapter: Path, merged: Path) -> None:
    """The merged model is as far from base and adapter as bfloat16 makes it, and no further."""
    together = PeftModel.from_pretrained(load(base), adapter).eval()
    found = load(merged)
    assert distance(together, found) < ROUNDING
    assert distance(together, load(base)) > 3 * distance(together, found), "the adapter changes too little to tell"
    expected = together.merge_and_unload()
    for parameter in expected.parameters():
        parameter.data = parameter.data.bfloat16().float()
    assert distance(expected, found) < ROUNDING / 50


@pytest.mark.parametrize("method", MERGEABLE)
def test_each_method_answers_as_base_and_adapter(tmp_path: Path, method: str) -> None:
    base = save_base(tmp_path / "base")
    small = {"oft": {"block_size": 8}, "vera": {"rank": 8}}.get(method, {} if method == "ia3" else {"rank": 4})
    adapter = save_adapted(tmp_path / "adapter", load(base), AdapterSpec(method=method, **small))
    merge_adapter(base, adapter, tmp_path / "merged")
    check(base, adapter, tmp_path / "merged")


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"mixtral"}))
def test_each_family_answers_as_base_and_adapter(tmp_path: Path, family: str) -> None:
    base = save_base(tmp_path / "base", family)
    adapter = save_adapted(tmp_path / "adapter", load(base), AdapterSpec(rank=4))
    merge_adapter(base, adapter, tmp_path / "merged")
    check(base, adapter, tmp_path / "merged")


def test_tokens_and_whole_modules_are_merged_too(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    spec = AdapterSpec(rank=4, trainable_tokens=["a", "b"], modules_to_save="norm,input_layernorm")
    adapter = save_adapted(tmp_path / "adapter", load(base), spec, [3, 7])
    merge_adapter(base, adapter, tmp_path / "merged")
    check(base, adapter, tmp_path / "merged")


def test_all_that_a_model_needs_lies_beside_the_weights(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", max_shard_size="20KB")
    adapter = save_adapted(tmp_path / "adapter", load(base), AdapterSpec(rank=4))
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    merge_adapter(base, adapter, tmp_path / "merged")
    merged = tmp_path / "merged"
    files = {file.name for file in merged.glob("*.safetensors")}
    assert len(files) > 2
    assert files == {file.name for file in base.glob("*.safetensors")}
    index = json.loads((merged / "model.safetensors.index.json").read_text())
    model = load(merged, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert index["metadata"]["total_size"] == sum(p.numel() * 2 for p in model.parameters())
    assert model.generation_config.max_new_tokens == 7
    tokenizer = AutoTokenizer.from_pretrained(merged)
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.encode("abc") == make_tokenizer().encode("abc")


def test_experts_that_lie_apart_on_disk_are_refused_before_training(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "mixtral")
    job = QLoRAJobSpec.model_validate(spec(output={"merge": True}))
    with pytest.raises(TrainerError, match=r"no weight model.layers.0.mlp.*; write output.merge: false"):
        check_adapter(job, base)
    check_adapter(QLoRAJobSpec.model_validate(spec(output={"merge": True}, adapter={"targets": "q_proj"})), base)
    check_adapter(QLoRAJobSpec.model_validate(spec()), base)


def test_a_job_leaves_the_merged_model_beside_its_adapter(gang: Gang) -> None:
    gang.train(nodes=2, output={"merge": True}, training={"maxSteps": 4})
    merged = gang.output / "merged"
    base = gang.volumes / "models/tiny"
    together = PeftModel.from_pretrained(load(base), gang.output / "adapter").eval()
    assert distance(together, load(merged)) < ROUNDING
    assert distance(together, load(base)) > 0.1
    assert ModelCard.load(merged / "README.md").data.library_name == "transformers"
    assert json.loads((merged / "provenance.json").read_text())["uid"] == "uid"


def test_a_merge_that_was_interrupted_is_made_up_for(gang: Gang) -> None:
    gang.train(output={"merge": True}, training={"maxSteps": 2})
    shutil.rmtree(gang.output / "merged")
    (pod,) = gang.train(attempt=2, output={"merge": True}, training={"maxSteps": 2})
    assert load(gang.output / "merged").config.num_hidden_layers == 2
    assert pod.events("training") == []


def test_a_weight_that_the_files_do_not_have_is_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = save_base(tmp_path / "base")
    adapter = save_adapted(tmp_path / "adapter", load(base), AdapterSpec(rank=4))
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up.weight"] = weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(TrainerError, match=r"no weight model.layers.0.mlp.up_proj.weight, which .*write merge: false"):
        merge_adapter(base, adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


MEASURED = """
import resource, sys
from pathlib import Path
from qlora_trainer.rank.merge import merge_adapter
tiny, tiny_adapter, base, adapter, target = map(Path, sys.argv[1:])
merge_adapter(tiny, tiny_adapter, target / "warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
merge_adapter(base, adapter, target / "merged")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_memory_holds_a_weight_and_never_the_model(tmp_path: Path) -> None:
    """So a rank needs the model as it has it already, and less than a file of its weights besides."""
    large = {**FAMILIES["llama"], "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 12}
    sizes = {}
    for name, config in {"tiny": FAMILIES["llama"], "large": large}.items():
        model = build("llama", config).bfloat16()
        model.save_pretrained(tmp_path / name, max_shard_size="100MB")
        sizes[name] = sum(parameter.numel() * 2 for parameter in model.parameters())
        save_adapted(tmp_path / f"{name}-adapter", model, AdapterSpec(rank=4))
    largest_file = max(file.stat().st_size for file in (tmp_path / "large").glob("*.safetensors"))
    assert sizes["large"] > 3 * largest_file
    arguments = [str(tmp_path / name) for name in ("tiny", "tiny-adapter", "large", "large-adapter", "")]
    done = subprocess.run([sys.executable, "-c", MEASURED, *arguments], check=True, capture_output=True, text=True)
    grown = int(done.stdout.split()[-1])
    shutil.rmtree(tmp_path / "large")
    assert grown < largest_file, f"{grown / 2**20:.0f} MiB more for a model of {sizes['large'] / 2**20:.0f} MiB"
