"""Evaluations between the steps of real ranks: what they find, and that the training does not notice them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank.model import load_base
from unit.trainer.pods import Gang, Pod
from unit.trainer.ranks import run
from unit.trainer.tiny_model import make_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECOND_PORTION_OF_STEP_2 = 4
"""Asked once in each of two steps, and after each of the three portions in which two ranks evaluate five rows."""
AFTER_STEP_4 = 5
"""The evaluation of step 2 is made first; then asked once in each step."""
HELD_OUT = {"source": "pvc://data/held-out.jsonl", "everySteps": 2}
SAMPLES = {"prompts": ["Say onyx", "Say"], "rows": 1, "maxNewTokens": 4}
PROMPTS: dict[str, Any] = {"adapter": {"rank": None, "virtualTokens": 4}, "training": {"gradientCheckpointing": False}}
NOTHING_STAYS_WHOLE = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
VARIANTS: dict[str, dict[str, Any]] = {
    "stage 0": {"deepspeed": {"zeroStage": 0}},
    "stage 1": {"deepspeed": {"zeroStage": 1}},
    "stage 2": {"deepspeed": {"zeroStage": 2}},
    "stage 3": {"deepspeed": {"zeroStage": 3, "config": NOTHING_STAYS_WHOLE}},
    "packed": {"training": {"packing": True, "sequenceLength": 128, "globalBatchSize": 2, "epochs": 9}},
    "prefix-tuning": {**PROMPTS, "adapter": {**PROMPTS["adapter"], "method": "prefix-tuning"}},
    "p-tuning, stage 3": {
        **PROMPTS,
        "adapter": {**PROMPTS["adapter"], "method": "p-tuning"},
        "deepspeed": {"zeroStage": 3, "config": NOTHING_STAYS_WHOLE},
    },
}


OVERFITTED = {"learningRate": 0.03, "schedule": "constant", "warmupRatio": 0, "maxSteps": 7}


def job(
    gang: Gang, nodes: int = 2, attempt: int = 1, evaluation: dict[str, Any] | None = None, dtype: str = "bfloat16",
    **more: Any,
) -> list[Pod]:  # fmt: skip
    """A job in 4 bits. In bfloat16, CPUs repack the weights at an evaluation if they are let."""
    changes: dict[str, Any] = {"quantization": {"type": "nf4", "computeDtype": dtype}, **more}
    changes["adapter"] = more.get("adapter", {"dropout": 0.2})
    if evaluation is not None:
        changes["evaluation"] = evaluation
    rows = [
        {"messages": [{"role": "user", "content": f"Say {word}"}, {"role": "assistant", "content": word}]}
        for word in ("onyx", "jasper", "a", "pearl", "quartz")
    ]
    (gang.volumes / "data/held-out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pods = gang.new_pods(nodes=nodes, attempt=attempt, **changes)
    for pod in pods:
        fetch(pod.job, PodPaths(pod.root))
    return pods


def lines(gang: Gang, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (gang.output / name).read_text().splitlines()]


def evaluations(gang: Gang) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in lines(gang, "evaluation.jsonl")}


def adapter(gang: Gang) -> dict[str, Any]:
    tensors = load_file(gang.output / "adapter/adapter_model.safetensors")
    return {name: value.tolist() for name, value in tensors.items()}


def provenance(gang: Gang) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((gang.output / "adapter/provenance.json").read_text())["training"]
    return found


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Gang]:
    """Every variant with evaluations and without."""
    folder = tmp_path_factory.mktemp("pairs")
    found = {
        f"{name}, {how}": Gang(folder / name / how, tiny_model) for name in VARIANTS for how in ("with", "without")
    }
    evaluation = {**HELD_OUT, "samples": SAMPLES}
    run(
        *((job(found[f"{name}, without"], **changes), None) for name, changes in VARIANTS.items()),
        *((job(found[f"{name}, with"], evaluation=evaluation, **changes), None) for name, changes in VARIANTS.items()),
    )
    return found


@pytest.fixture(scope="module")
def gangs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Gang]:
    """Jobs on one rank and on two, that end early, and that overfit: undisturbed and interrupted."""
    folder = tmp_path_factory.mktemp("evaluation")
    names = ("together", "alone", "early", "best, whole", "best, parts")
    found = {name: Gang(folder / name, tiny_model) for name in names}
    exact: dict[str, Any] = {"dtype": "float32", "adapter": {"dropout": 0}}  # dropout is seeded for each micro-batch
    early = {**HELD_OUT, "earlyStopping": {"patience": 1, "minDelta": 50}}
    best = {"evaluation": {**HELD_OUT, "export": "best"}, "training": OVERFITTED, "checkpoint": {"keep": 1}}
    parts = found["best, parts"]
    run(
        (job(found["together"], evaluation={**HELD_OUT, "samples": SAMPLES}, **exact), None),
        (job(found["early"], evaluation=early), None),
        (job(found["best, whole"], **best), None),
        (job(parts, **best), SECOND_PORTION_OF_STEP_2),
        (job(parts, attempt=2, **best), AFTER_STEP_4),
        (job(parts, attempt=3, **best), None),
    )
    run((job(found["alone"], nodes=1, evaluation=HELD_OUT, training={"microBatchSize": 2}, **exact), None))
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_goes_on_as_if_it_had_not_been_evaluated(pairs: dict[str, Gang], variant: str) -> None:
    """The gradients after an evaluation are those without one, bit for bit."""
    evaluated, plain = pairs[f"{variant}, with"], pairs[f"{variant}, without"]
    assert list(evaluations(evaluated)) == [2, 4, 6]
    assert evaluated.losses() == plain.losses()
    assert adapter(evaluated) == adapter(plain)
    assert not (plain.output / "evaluation.jsonl").exists()


def test_the_loss_does_not_depend_on_how_many_ranks_share_the_rows(gangs: dict[str, Gang]) -> None:
    assert evaluations(gangs["alone"]) == pytest.approx(evaluations(gangs["together"]), rel=1e-5)
    for line in lines(gangs["alone"], "evaluation.jsonl"):
        assert line["perplexity"] == pytest.approx(math.exp(line["loss"]), rel=1e-3)


def test_it_does_not_depend_on_the_stage_of_zero(pairs: dict[str, Gang]) -> None:
    for stage in ("stage 1", "stage 2", "stage 3"):
        assert evaluations(pairs[f"{stage}, with"]) == pytest.approx(evaluations(pairs["stage 0, with"]), rel=1e-2)


def test_training_that_makes_no_progress_ends_early_as_a_success_that_says_so(gangs: dict[str, Gang]) -> None:
    told = provenance(gangs["early"])
    assert (told["step"], told["of"], told["evaluation"]["step"]) == (4, 6, 4)
    assert told["message"].startswith(
        "stopped early after 4 of 6 steps: no progress of at least 50 in the last evaluation;"
    )
    assert list(gangs["early"].losses()) == [1, 2, 3, 4]


def test_the_best_step_is_exported_and_its_checkpoint_outlives_newer_ones(gangs: dict[str, Gang]) -> None:
    gang = gangs["best, whole"]
    losses = evaluations(gang)
    best = min(losses, key=lambda step: losses[step])
    assert best < 7, "the rows that are learned are overfitted"
    assert provenance(gang)["exportedStep"] == best
    card = (gang.output / "adapter/README.md").read_text()
    found = f"{losses[best]:.4f} nats a token, a perplexity of {math.exp(losses[best]):.2f}, at step {best}"
    assert f"| held-out rows | {found} |" in card
    assert sorted(folder.name for folder in (gang.output / "checkpoints").iterdir()) == [f"step-{best}", "step-7"]
    state = load_file(gang.output / f"checkpoints/step-{best}/state.safetensors")
    saved = load_file(gang.output / "adapter/adapter_model.safetensors")
    for name, value in saved.items():
        assert torch.equal(value, state["parameter/" + name.replace(".weight", ".default.weight")])


def test_an_evaluation_that_was_interrupted_is_made_when_the_job_goes_on(gangs: dict[str, Gang]) -> None:
    whole, parts = gangs["best, whole"], gangs["best, parts"]
    assert parts.losses() == whole.losses()
    steps = [line["step"] for line in lines(parts, "evaluation.jsonl")]
    assert steps == [2, 4, 6, 7], "each is made once"
    assert evaluations(parts) == evaluations(whole)
    assert adapter(parts) == adapter(whole)
    told, expected = provenance(parts), provenance(whole)
    assert (told["evaluation"], told["exportedStep"]) == (expected["evaluation"], expected["exportedStep"])


@pytest.mark.parametrize("variant", ["stage 3", "p-tuning, stage 3"])
def test_samples_are_written_at_each_evaluation_beside_what_was_expected(pairs: dict[str, Gang], variant: str) -> None:
    samples = lines(pairs[f"{variant}, with"], "samples.jsonl")
    assert [(line["step"], line["number"]) for line in samples] == [(s, n) for s in (2, 4, 6) for n in (0, 1, 2)]
    assert [line["prompt"] for line in samples[:2]] == SAMPLES["prompts"]
    assert all("expected" not in line for line in samples[:2])
    assert samples[2]["expected"].strip() == "onyx"
    assert samples[2]["prompt"].endswith("assistant\n")


def test_a_sample_is_what_the_adapter_says_once_it_is_loaded_elsewhere(
    gangs: dict[str, Gang], tiny_model: Path
) -> None:
    gang = gangs["together"]
    spec = gang.pods[0].job.spec
    model = PeftModel.from_pretrained(load_base(str(tiny_model), spec, torch.device("cpu")), gang.output / "adapter")
    tokenizer = make_tokenizer()
    for line in lines(gang, "samples.jsonl")[-3:]:
        text = line["prompt"]
        if "expected" not in line:
            message = {"role": "user", "content": text}
            text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        output = model.eval().generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=SAMPLES["maxNewTokens"],
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        assert tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True) == line["text"]


def test_the_output_has_a_chart_and_files_for_tensorboard(gangs: dict[str, Gang]) -> None:
    output = gangs["best, parts"].output
    assert (output / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((output / "tensorboard").iterdir())) == 3, "one for each attempt"
