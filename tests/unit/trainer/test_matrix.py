"""A part of the matrix, on two ranks that are started once: every method, and every other column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matrix.gang import Trial, try_all
from qlora_api.methods import METHODS, PROMPT_METHODS, QUANTIZATIONS, STAGES, Cell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EVERYTHING_WHOLE: dict[str, Any] = {"deepspeed": {"config": {}}}
"""ZeRO-3 as DeepSpeed sets it: small parameters are not cut."""
FLOAT32: dict[str, Any] = {"quantization": {"computeDtype": "float32"}}
COMPARED = ("lora", "dora", "p-tuning")

METHOD_BY_METHOD: list[Trial] = [(Cell(method, "nf4", 2, method != "prefix-tuning"), {}) for method in METHODS]
BY_QUANTISATION: list[Trial] = [(Cell("lora", quantization, 1, False), {}) for quantization in QUANTIZATIONS]
BY_QUANTISATION += [(Cell(method, "int8", 1, True), {}) for method in ("dora", "adalora", "ia3")]
BESIDE_LORA: list[Trial] = [
    (Cell("lora", "nf4", stage, True), {"adapter": more})
    for stage in (1, 3)
    for more in ({"modulesToSave": "norm,lm_head"}, {"trainableTokens": ["<|im_start|>"]})
]
PROMPTS: list[Trial] = [(Cell(method, "nf4", 3, False), {}) for method in PROMPT_METHODS]
RECOMPUTED: list[Trial] = [
    (Cell(method, quantization, 3, True), changes)
    for method, quantization in (("lora", "nf4"), ("dora", "nf4"), ("lora", "none"))
    for changes in ({}, EVERYTHING_WHOLE)
]
BY_STAGE: list[Trial] = [(Cell(method, "nf4", stage, False), FLOAT32) for method in COMPARED for stage in STAGES]

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    trials = [*METHOD_BY_METHOD, *BY_QUANTISATION, *BESIDE_LORA, *PROMPTS, *RECOMPUTED, *BY_STAGE]
    found = try_all(trials, tiny_model, tmp_path_factory.mktemp("matrix"))
    return {str(trial): outcome for trial, outcome in zip(trials, found, strict=True)}


def errors(outcomes: Outcomes, trials: list[Trial]) -> dict[str, str]:
    return {str(trial): outcomes[str(trial)]["error"] for trial in trials if "error" in outcomes[str(trial)]}


def test_each_method_trains(outcomes: Outcomes) -> None:
    assert errors(outcomes, METHOD_BY_METHOD) == {}


def test_each_quantisation_trains(outcomes: Outcomes) -> None:
    assert errors(outcomes, BY_QUANTISATION) == {}


def test_tokens_and_whole_modules_train_beside_lora(outcomes: Outcomes) -> None:
    assert errors(outcomes, BESIDE_LORA) == {}


def test_trap_prompt_tuning_hangs_after_a_save_with_zero_3(outcomes: Outcomes) -> None:
    """PEFT runs a prompt's encoder to save it, on the rank that saves, while the others wait in other collectives."""
    assert errors(outcomes, PROMPTS) == {}


def test_trap_zero_3_with_frozen_parameters_and_checkpointing(outcomes: Outcomes) -> None:
    """4, 5 and 8: recomputed layers find their weights, types may differ, and the saved adapter is whole."""
    assert errors(outcomes, RECOMPUTED) == {}


@pytest.mark.parametrize("method", COMPARED)
def test_the_losses_do_not_depend_on_the_stage(outcomes: Outcomes, method: str) -> None:
    losses = [outcomes[str(trial)]["losses"] for trial in BY_STAGE if trial[0].method == method]
    assert all(one == pytest.approx(losses[0], abs=1e-3) for one in losses)
