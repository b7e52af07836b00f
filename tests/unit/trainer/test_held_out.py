"""Rows that are held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.main import fetch
from qlora_trainer.paths import PodPaths
from qlora_trainer.rows.content import Chat, Completion, Content, Text
from qlora_trainer.rows.held_out import is_held_out
from qlora_trainer.sources import ResolvedSources
from unit.trainer.pods import Gang

TEXTS: list[Content] = [Text(f"text {number}") for number in range(2000)]


def row(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": "a"}]}


def fetched(gang: Gang, evaluation: dict[str, Any], **changes: Any) -> ResolvedSources:
    (pod,) = gang.new_pods(evaluation=evaluation, **changes)
    return fetch(pod.job, PodPaths(pod.root))


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5])
def test_about_the_fraction_is_held_out(fraction: float) -> None:
    held_out = sum(is_held_out(text, fraction, seed=42) for text in TEXTS)
    assert held_out / len(TEXTS) == pytest.approx(fraction, rel=0.3)


def test_the_seed_chooses_and_a_larger_fraction_has_the_smaller_one_in_it() -> None:
    def chosen(fraction: float, seed: int) -> set[int]:
        return {number for number, text in enumerate(TEXTS) if is_held_out(text, fraction, seed)}

    assert chosen(0.1, 1) != chosen(0.1, 2)
    assert chosen(0.1, 1) < chosen(0.2, 1)


def test_the_choice_is_the_same_in_every_version_of_this_program() -> None:
    contents: list[Content] = [
        Text("ä"),
        Completion("a", "b"),
        Chat([{"role": "user", "content": "a"}, {"content": "b", "role": "assistant"}]),
    ]
    borders = []
    for content in contents:
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if is_held_out(content, middle, 42) else (middle, high)
        borders.append(round(high, 3))
    assert borders == BORDERS
    assert is_held_out(Chat([{"content": "a", "role": "user"}]), 0.5, 1) == is_held_out(
        Chat([{"role": "user", "content": "a"}]), 0.5, 1
    ), "the order of keys in a file says nothing"


BORDERS = [0.134, 0.362, 0.191]


def test_a_split_without_held_out_rows_is_refused(gang: Gang) -> None:
    with pytest.raises(TrainerError, match=r"fraction: 0\.0001 of 9 rows splits off none; write a larger") as error:
        fetched(gang, {"fraction": 0.0001})
    assert error.value.reason == Reason.DATASET_INVALID


def test_a_split_that_leaves_nothing_to_learn_is_refused(gang: Gang) -> None:
    held_out = next(row(n) for n in range(99) if is_held_out(Chat(row(n)["messages"]), 0.5, seed=42))
    gang.write_rows([held_out, held_out])
    with pytest.raises(TrainerError, match=r"leaves no row of dataset\.source pvc://data/train\.jsonl to learn"):
        fetched(gang, {"fraction": 0.5})


def test_rows_of_their_own_are_checked_as_a_dataset_is(gang: Gang) -> None:
    with pytest.raises(TrainerError, match=r"evaluation\.source pvc://data/none\.jsonl: .* does not exist"):
        fetched(gang, {"source": "pvc://data/none.jsonl"})
    (gang.volumes / "data/own.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(TrainerError, match=r"own\.jsonl line 1: no field 'completion'"):
        fetched(gang, {"source": "pvc://data/own.jsonl", "format": "prompt-completion"})
    (gang.volumes / "data/own.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    resolved = fetched(gang, {"source": "pvc://data/own.jsonl", "format": "prompt-completion"})
    assert [[path.name for path in part] for part in resolved.held_out_files] == [["own.jsonl"]]


def test_rows_that_are_split_off_come_from_the_files_of_the_dataset(gang: Gang) -> None:
    gang.write_rows([row(number) for number in range(40)])
    resolved = fetched(gang, {"fraction": 0.2})
    assert resolved.held_out_files == [[Path(file) for file in resolved.dataset[0]]]
