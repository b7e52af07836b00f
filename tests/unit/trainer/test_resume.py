"""A run that was stopped goes on as if it had not been: dropout, learning rate, data order and moments included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from unit.trainer.pods import Gang, Pod
from unit.trainer.ranks import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STOP_AFTER = 3
ALL_PARTITIONED = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
PUBLISHED = {
    "train_micro_batch_size_per_gpu": 1,
    "optimizer": {"type": "Adam", "params": {"lr": 0.01}},
    "zero_optimization": {
        "stage": 1,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
        "overlap_comm": False,
        "contiguous_gradients": False,
    },
}
AUTOMATIC = {
    "bf16": {"enabled": "auto"},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_optimization": {"stage": 2, "overlap_comm": True, "reduce_bucket_size": "auto"},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "stage 0": {"deepspeed": {"zeroStage": 0}},
    "stage 1": {"deepspeed": {"zeroStage": 1}},
    "stage 2, by a zero2.json of auto": {"deepspeed": {"config": AUTOMATIC}},
    "stage 3": {"deepspeed": {"zeroStage": 3, "config": ALL_PARTITIONED}},
    "stage 1 and the host, by a published config.json": {"deepspeed": {"config": PUBLISHED}},
    "stage 3, all on the host": {
        "deepspeed": {"zeroStage": 3, "offloadOptimizer": "cpu", "offloadParameters": "cpu", "config": ALL_PARTITIONED}
    },
    "adalora": {"deepspeed": {"zeroStage": 2}, "adapter": {"method": "adalora", "rank": 4, "dropout": 0.2}},
    "pissa": {"deepspeed": {"zeroStage": 1}, "adapter": {"method": "pissa", "rank": 4, "dropout": 0.2}},
    "packed": {"training": {"packing": True, "sequenceLength": 128, "epochs": 8, "globalBatchSize": 4}},
    "two rates": {"deepspeed": {"zeroStage": 3}, "adapter": {"method": "lora-plus", "rank": 4, "dropout": 0.2}},
}
STAGED = (
    "stage 0",
    "stage 2, by a zero2.json of auto",
    "stage 3",
    "stage 1 and the host, by a published config.json",
    "stage 3, all on the host",
)


def job(gang: Gang, variant: str, attempt: int, nodes: int = 2, **more: Any) -> list[Pod]:
    changes = {"quantization": {"type": "nf4"}, "adapter": {"dropout": 0.2}, **VARIANTS[variant], **more}
    changes["training"] = {"globalBatchSize": 6, "epochs": 9, **changes.get("training", {})}
    pods = gang.new_pods(nodes=nodes, attempt=attempt, **changes)
    for pod in pods:
        fetch(pod.job, PodPaths(pod.root))
    return pods


def adapter(gang: Gang) -> dict[str, object]:
    weights: dict[str, object] = {
        name: value.tolist() for name, value in load_file(gang.output / "adapter/adapter_model.safetensors").items()
    }
    return weights


@pytest.fixture(scope="module")
def gangs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Gang]:
    """Every variant undisturbed and interrupted, and two runs that change how they share the state."""
    folder = tmp_path_factory.mktemp("resume")
    names = [*(f"{variant}, {how}" for variant in VARIANTS for how in ("whole", "parts")), "staged", "moved", "alone"]
    gangs = {name: Gang(folder / name, tiny_model) for name in names}
    staged, moved = gangs["staged"], gangs["moved"]
    run(
        *((job(gangs[f"{variant}, whole"], variant, 1), None) for variant in VARIANTS),
        *((job(gangs[f"{variant}, parts"], variant, 1), STOP_AFTER) for variant in VARIANTS),
        *((job(gangs[f"{variant}, parts"], variant, 2), None) for variant in VARIANTS),
        *((job(staged, variant, attempt), 1) for attempt, variant in enumerate(STAGED[:-1], start=1)),
        (job(staged, STAGED[-1], len(STAGED)), None),
        (job(moved, "stage 3", 1), 2),
    )
    run((job(moved, "stage 0", 2, nodes=1), 2), (job(gangs["alone"], "packed", 1, nodes=1), None))
    run((job(moved, "stage 3", 3, nodes=3), None))
    return gangs


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_resumes_exactly_however_the_state_is_shared_out(gangs: dict[str, Gang], variant: str) -> None:
    whole, parts = gangs[f"{variant}, whole"], gangs[f"{variant}, parts"]
    assert parts.losses() == whole.losses()
    assert adapter(parts) == adapter(whole)
    assert whole.losses()[6] < whole.losses()[1]
    steps = [line.split(",")[0] for line in (parts.output / "log.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps)) == 6, "no step was done twice"
    if variant.startswith("stage"):
        assert whole.losses() == pytest.approx(gangs["stage 0, whole"].losses(), abs=1e-4)


@pytest.mark.parametrize("name", ["staged", "moved"])
def test_trap_resume_at_another_stage_or_world_size(gangs: dict[str, Gang], name: str) -> None:
    """12: the run goes on, from stage to stage or from 2 ranks to 1 and to 3, as if nothing had changed."""
    assert list(gangs[name].losses()) == [1, 2, 3, 4, 5, 6]
    assert gangs[name].losses() == pytest.approx(gangs["stage 0, whole"].losses(), abs=1e-4)


def test_lora_plus_has_a_second_rate_within_deepspeed_too(gangs: dict[str, Gang]) -> None:
    one, two = gangs["stage 3, whole"].losses(), gangs["two rates, whole"].losses()
    assert one[1] == pytest.approx(two[1], abs=1e-4)
    assert abs(one[3] - two[3]) > 1e-2


def test_packed_sequences_are_shared_out_over_any_number_of_ranks(gangs: dict[str, Gang]) -> None:
    assert gangs["alone"].losses() == pytest.approx(gangs["packed, whole"].losses(), abs=1e-5)


def test_a_packed_mix_of_datasets_is_resumed_exactly_and_shared_out_over_any_number_of_ranks(
    tmp_path: Path, tiny_model: Path
) -> None:
    texts = {"source": "pvc://data/texts.csv", "format": "text", "columns": {"text": "body"}}
    mix = {"source": None, "mix": [{"source": "pvc://data/train.jsonl", "weight": 0.5}, texts]}
    whole, parts, alone = (Gang(tmp_path / name, tiny_model) for name in ("whole", "parts", "alone"))
    for gang in (whole, parts, alone):
        (gang.volumes / "data/texts.csv").write_text("id,body\n" + "".join(f"{i},{'ab' * i * 20}\n" for i in range(9)))
    run(
        (job(whole, "packed", 1, dataset=mix), None),
        (job(parts, "packed", 1, dataset=mix), STOP_AFTER),
        (job(parts, "packed", 2, dataset=mix), None),
    )
    assert list(whole.losses()) == [1, 2, 3, 4, 5, 6]
    assert parts.losses() == whole.losses()
    assert adapter(parts) == adapter(whole)

    run((job(alone, "packed", 1, nodes=1, dataset=mix), None))
    assert alone.losses() == pytest.approx(whole.losses(), abs=1e-5)


def test_adalora_ends_with_the_rank_that_was_asked_for(gangs: dict[str, Gang], tiny_model: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = gangs["adalora, parts"].output / "adapter"
    kept = [sum(mask) for mask in json.loads((folder / "adapter_config.json").read_text())["rank_pattern"].values()]
    assert sum(kept) == 4 * len(kept)
    assert len(set(kept)) > 1, "some modules matter more than others"
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder)
    assert any(value.abs().sum() > 0 for name, value in loaded.named_parameters() if "lora_E" in name)
