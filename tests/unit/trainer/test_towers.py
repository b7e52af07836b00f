"""Towers of vision-language models: each choice trains exactly the modules that it names, in each family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from qlora_api.job_file import JobFile
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.fetch.families import FAMILIES, family_of
from qlora_trainer.rank.data import Dataset, load_dataset
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.make_data import make_dataset
from qlora_trainer.rank.model import load_base, load_model
from qlora_trainer.rank.optimizers import parameter_groups
from qlora_trainer.rank.tokenizer import load_reader
from unit.trainer.pods import spec
from unit.trainer.vqa import vqa_rows, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CPU = torch.device("cpu")
FULL, LORA = {"method": "full"}, {"method": "lora"}
CHOICES: dict[str, dict[str, Any]] = {
    "as without towers": {},
    "language": {"towers": {"language": LORA}},
    "projector": {"towers": {"projector": FULL}},
    "vision": {"towers": {"vision": LORA}},
    "vision, whole": {"towers": {"vision": FULL}},
    "all": {"towers": {"language": {"method": "rslora"}, "projector": FULL, "vision": {**LORA, "rank": 2, "alpha": 9}}},
    "all dora": {"method": "dora", "towers": {"language": {}, "projector": FULL, "vision": {}}},
}
NOT_READ = (".encoder.layers.1.", ".post_layernorm.")
"""What LLaVA's model does not use: it takes the features of the layer before the last."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads wait longer for each other than these models compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions about images, and a row without one."""
    folder = tmp_path_factory.mktemp("data")
    text = {"messages": [{"role": "user", "content": "red or blue?"}, {"role": "assistant", "content": "red"}]}
    write_rows(folder / "rows.jsonl", [*vqa_rows(4, folder), text])
    return folder / "rows.jsonl"


def job(**changes: Any) -> QLoRAJobSpec:
    return QLoRAJobSpec.model_validate(spec(**{"training": {"sequenceLength": 128}, **changes}))


def tokenised(model: Path, rows: Path, folder: Path) -> Dataset:
    reader = load_reader(str(model), job().dataset)
    make_dataset(folder, [[rows]], job(), reader)
    return load_dataset(folder, reader, family_of(model))


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def expected(model: Path, choice: dict[str, Any]) -> dict[str, set[str]]:
    """The modules that a choice names, found without the trainer: linear ones with an adapter, whole ones with
    all their weights."""
    base = AutoModelForImageTextToText.from_pretrained(model)
    parts = {
        "language": base.model.get_decoder(),
        "vision": base.model.get_encoder(modality="image"),
        "projector": next(getattr(base.model, name) for name in ("multi_modal_projector", "connector", "visual")
                          if hasattr(base.model, name)),
    }  # fmt: skip
    names = {id(module): name for name, module in base.named_modules()}
    projector = [names[id(parts["projector"])]]
    if hasattr(parts["vision"], "merger"):
        lists = [f"{projector[0]}.{name}" for name in ("merger", "deepstack_merger_list")]
        projector = [name for name in lists if name in names.values()]

    def is_in(name: str, part: str) -> bool:
        if part == "projector":
            return any(name.startswith(f"{prefix}.") for prefix in projector)
        return name.startswith(f"{names[id(parts[part])]}.") and not is_in(name, "projector")

    found: dict[str, set[str]] = {"adapted": set(), "whole": set()}
    for part, how in choice.get("towers", {"language": {}}).items():
        if how.get("method") == "full":
            found["whole"] |= {name for name, _ in base.named_parameters() if is_in(name, part)}
        else:
            linear = {name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)}
            found["adapted"] |= {name for name in linear if is_in(name, part)}
    return found


def touched(names: set[str]) -> dict[str, set[str]]:
    """The base's modules and parameters that trained parameters belong to."""
    plain = {name.removeprefix("base_model.model.") for name in names}
    return {
        "adapted": {name.partition(".lora_")[0] for name in plain if ".lora_" in name},
        "whole": {name.replace(".modules_to_save.default", "") for name in plain if ".modules_to_save." in name},
    }


@pytest.mark.parametrize(
    ("family", "choice"),
    [*(("idefics3", name) for name in CHOICES), *((family, "all") for family in FAMILIES if family != "idefics3")],
)
def test_a_choice_of_towers_changes_exactly_the_modules_that_it_names(
    family: str, choice: str, vlms: Path, rows: Path, tmp_path: Path
) -> None:
    """Two of the rows of a batch have images, and the last has none."""
    dataset = tokenised(vlms / family, rows, tmp_path / "tokens")
    model = load_model(str(vlms / family), job(adapter={"rank": 4, "alpha": 8, **CHOICES[choice]}), CPU)
    everything = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0)
    for _ in range(3):
        optimizer.zero_grad()
        loss_sum(model, collate(dataset, [0, 1, 4])).backward()
        optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, everything[name])}
    named = expected(vlms / family, CHOICES[choice])
    assert touched(set(trained(model))) == named
    assert changed <= set(trained(model))
    still = {name for name in trained(model) if name not in changed}
    assert all(family == "llava" and any(part in name for part in NOT_READ) for name in still)

    model.save_pretrained(tmp_path / "adapter")
    spec_of_job = job(adapter={"rank": 4, "alpha": 8, **CHOICES[choice]})
    loaded = PeftModel.from_pretrained(load_base(str(vlms / family), spec_of_job, CPU), tmp_path / "adapter").eval()
    batch = collate(dataset, [0])
    with torch.no_grad():
        assert torch.allclose(loss_sum(loaded, batch), loss_sum(model.eval(), batch), rtol=1e-4)


@pytest.mark.parametrize(
    ("towers", "frozen", "in_four_bits"),
    [
        ({"language": {}}, None, {"language"}),
        ({"projector": FULL}, None, set()),
        ({"vision": {}}, None, {"vision"}),
        ({"vision": {}}, True, {"vision", "language", "projector"}),
        ({"language": {}, "vision": FULL}, True, {"language", "projector"}),
    ],
)
@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_quantisation_skips_what_is_not_adapted(
    vlms: Path, family: str, towers: dict[str, Any], frozen: bool | None, in_four_bits: set[str]
) -> None:
    changes = {"adapter": {"towers": towers}, "quantization": {"type": "nf4", "frozenTowers": frozen}}
    base = load_base(str(vlms / family), job(**changes), CPU)
    found: dict[Any, set[str]] = {}
    for name, module in base.named_modules():
        if isinstance(module, torch.nn.Linear):
            found.setdefault(FAMILIES[family].tower_of(name), set()).add(type(module).__name__)
    assert {tower: kinds for tower, kinds in found.items() if kinds == {"Linear4bit"}}.keys() == in_four_bits
    assert all(kinds == {"Linear"} for tower, kinds in found.items() if tower not in in_four_bits)


def test_towers_of_several_types_pass_on_what_the_next_one_reads(vlms: Path, rows: Path, tmp_path: Path) -> None:
    """Whole modules are float32 within a base of bfloat16."""
    dataset = tokenised(vlms / "idefics3", rows, tmp_path / "tokens")
    towers = {"language": {}, "projector": FULL, "vision": FULL}
    changes = {"adapter": {"towers": towers}, "quantization": {"computeDtype": "bfloat16"}}
    model = load_model(str(vlms / "idefics3"), job(**changes), CPU)
    assert {value.dtype for value in trained(model).values()} == {torch.float32}
    loss_sum(model, collate(dataset, [0, 4])).backward()
    assert all(value.grad.isfinite().all() for value in model.parameters() if value.requires_grad)


def test_each_tower_learns_at_its_own_rate(vlms: Path) -> None:
    towers = {"language": {}, "projector": {**FULL, "learningRate": 0.002}, "vision": {"learningRate": 0.04}}
    changes = spec(adapter={"towers": towers}, training={"learningRate": 0.01})
    model = load_model(str(vlms / "qwen2_vl"), QLoRAJobSpec.model_validate(changes), CPU)
    job_file = JobFile.model_validate(
        {"name": "a", "namespace": "b", "uid": "c", "attempt": 1, "hosts": ["d"], "slots": 1,
         "terminationGracePeriodSeconds": 30, "spec": changes}
    )  # fmt: skip
    rates = {
        FAMILIES["qwen2_vl"].tower_of(name.removeprefix("base_model.model.")): group["rate_factor"]
        for group in parameter_groups(model, job_file)
        for name, value in model.named_parameters()
        if any(value is one for one in group["params"])
    }
    assert rates == pytest.approx({"language": 1.0, "projector": 0.2, "vision": 4.0})


def test_every_parameter_is_in_a_tower_but_for_the_output_layer(vlms: Path) -> None:
    for family in FAMILIES:
        base = AutoModelForImageTextToText.from_pretrained(vlms / family)
        outside = {name for name, _ in base.named_parameters() if FAMILIES[family].tower_of(name) is None}
        assert outside <= {"lm_head.weight"}, family


def test_a_text_after_an_image_is_read_as_if_there_had_been_none(vlms: Path, rows: Path, tmp_path: Path) -> None:
    """Qwen's models remember positions from one pass to the next."""
    dataset = tokenised(vlms / "qwen2_5_vl", rows, tmp_path / "tokens")
    model = load_model(str(vlms / "qwen2_5_vl"), job(), CPU)
    with torch.no_grad():
        alone = loss_sum(model, collate(dataset, [4]))
        loss_sum(model, collate(dataset, [0, 1]))
        assert torch.equal(loss_sum(model, collate(dataset, [4])), alone)
