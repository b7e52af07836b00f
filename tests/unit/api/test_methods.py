"""The matrix of methods: its rows, its rules of the CRD, and its sentences say the same."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic.alias_generators import to_camel

from qlora_api.methods import (
    MERGE_REFUSALS,
    MERGEABLE,
    METHODS,
    QUANTIZATIONS,
    REFUSALS,
    Cell,
    cells,
    parameter_rules,
    refusal,
    rules,
)
from qlora_api.spec import ADAPTER_PARAMETERS, AdapterSpec

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"
FIELDS = {
    "adapter.method": "method",
    "method": "method",
    "quantization.type": "quantization",
    "deepspeed.zeroStage": "stage",
    "training.gradientCheckpointing": "checkpointing",
}


def holds(rule: str, cell: Cell) -> bool:
    """What the API server would answer."""
    job = SimpleNamespace(
        adapter=SimpleNamespace(method=cell.method),
        quantization=SimpleNamespace(type=cell.quantization),
        deepspeed=SimpleNamespace(zeroStage=cell.stage),
        training=SimpleNamespace(gradientCheckpointing=cell.checkpointing),
    )
    python = rule.replace("&&", "and").replace("!", " not ")
    return bool(eval(python, {"self": job}))


def advised(row_sentence: str, cell: Cell) -> Cell:
    """The combination after what the sentence says to write."""
    for field, value in re.findall(r"([\w.]+): ([\w-]+)", row_sentence.partition("write ")[2]):
        kind = type(getattr(cell, FIELDS[field]))
        cell = cell._replace(**{FIELDS[field]: value == "true" if kind is bool else kind(value)})
    return cell


def test_the_methods_of_the_table_are_those_of_a_job() -> None:
    assert set(METHODS) == set(get_args(AdapterSpec.model_fields["method"].annotation))


def test_each_parameter_of_the_table_is_a_field() -> None:
    assert set(ADAPTER_PARAMETERS) | {"method", "towers"} == set(AdapterSpec.model_fields)


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.because.partition(";")[0])
def test_the_rule_of_the_crd_refuses_what_the_row_covers(row: Any) -> None:
    covered = [cell for cell in cells() if row.covers(cell)]
    assert covered
    assert [cell for cell in cells() if not holds(row.rule, cell)] == covered


def test_the_rules_of_the_crd_refuse_to_merge_what_cannot_be_merged() -> None:
    merging = [rule for rule, _ in rules() if "self.output.merge" in rule]
    for wants_merge in (False, True):
        job = SimpleNamespace(output=SimpleNamespace(merge=wants_merge))
        for method in METHODS:
            job.adapter = SimpleNamespace(method=method)
            python = [rule.replace("&&", "and").replace("!", " not ") for rule in merging]
            accepted = all(eval(rule, {"self": job}) for rule in python)
            assert accepted == (not wants_merge or method in MERGEABLE), (method, wants_merge)


def test_the_page_about_outputs_says_what_cannot_be_merged() -> None:
    page = PAGE.with_name("output.md").read_text()
    for methods, because in MERGE_REFUSALS:
        assert f"| {', '.join(f'`{name}`' for name in methods)} | {because} |" in page


def test_what_a_refusal_says_to_write_works() -> None:
    refused = [(cell, sentence) for cell in cells() if (sentence := refusal(cell))]
    assert refused
    for cell, sentence in refused:
        instead = advised(sentence, cell)
        assert instead != cell, sentence
        assert refusal(instead) in (None, sentence) or advised(refusal(instead) or "", instead) != instead, sentence
        for _ in REFUSALS:  # more than one thing can be wrong; each sentence mends one of them
            instead = advised(refusal(instead) or "", instead)
        assert refusal(instead) is None, (cell, sentence)


def test_the_page_for_users_shows_the_table_of_the_code() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    told = {tuple(row) for row in rows if len(row) == 5 and row[0] != "method" and "---" not in row[0]}
    assert told == {
        (
            ", ".join(f"`{name}`" for name in row.methods) if row.methods else "any",
            ", ".join(row.quantizations) if row.quantizations else "any",
            ", ".join(map(str, row.stages)) if row.stages is not None else "any",
            {None: "any", True: "on", False: "off"}[row.checkpointing],
            row.because,
        )
        for row in REFUSALS
    }


def test_the_page_names_every_method_with_its_defaults() -> None:
    page = PAGE.read_text()
    for method, defaults in METHODS.items():
        assert f"| `{method}` |" in page
        for parameter, default in defaults.items():
            assert f"`{to_camel(parameter)}`" in page, parameter
            if parameter in ("learning_rate_ratio", "block_size", "virtual_tokens"):
                assert f"`{to_camel(parameter)}` {default:g}" in page


def test_the_usual_job_is_not_refused() -> None:
    assert refusal(Cell("lora", "nf4", 1, True)) is None


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_trap_prefix_tuning_with_gradient_checkpointing_is_refused(quantization: str) -> None:
    """14: computing a layer again would lengthen its cache again."""
    sentence = refusal(Cell("prefix-tuning", quantization, 1, checkpointing=True))
    assert sentence is not None
    assert "write training.gradientCheckpointing: false" in sentence
    assert refusal(Cell("prefix-tuning", quantization, 1, checkpointing=False)) is None


@pytest.mark.parametrize("method", METHODS)
def test_a_parameter_is_refused_with_a_method_that_does_not_read_it(method: str) -> None:
    rules = parameter_rules({name: name for name in ADAPTER_PARAMETERS})
    for name in ADAPTER_PARAMETERS:
        allowed = all(_rule_holds(rule, method, name) for rule, _ in rules if f"self.{name}" in rule)
        assert allowed == (name in METHODS[method]), (method, name)


def _rule_holds(rule: str, method: str, given: str) -> bool:
    python = rule.replace("||", "or").replace("!has(", "not has(")
    return bool(eval(python, {"self": SimpleNamespace(method=method, **{given: "x"}), "has": lambda value: True}))


def test_a_parameter_that_is_not_given_has_the_default_of_its_method() -> None:
    assert AdapterSpec().parameters["rank"] == 16
    assert AdapterSpec(method="vera").parameters["rank"] == 256
    assert AdapterSpec(method="vera", rank=8).parameters["rank"] == 8
    assert "rank" not in AdapterSpec(method="ia3").parameters
