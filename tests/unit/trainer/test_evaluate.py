"""How an evaluation is shared out, and what it is an evaluation of."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qlora_api.spec import DatasetSpec, QLoRAJobSpec, SamplesSpec
from qlora_trainer.rank import evaluate
from qlora_trainer.rank.data import Dataset, load_dataset
from qlora_trainer.rank.evaluate import mean_loss, portions
from qlora_trainer.rank.evaluation import steps_between
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.make_data import make_dataset, make_held_out
from qlora_trainer.rank.model import load_model
from qlora_trainer.rank.samples import beginning_of_answer, make_prompts
from qlora_trainer.rows.content import Text
from qlora_trainer.rows.held_out import is_held_out
from unit.trainer.pods import ROWS, Gang, spec
from unit.trainer.tiny_model import make_tokenizer

CPU = torch.device("cpu")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 4))
def test_every_sequence_counts_once_and_every_rank_has_as_many_portions(
    lengths: list[int], world_size: int, micro_batch_size: int
) -> None:
    shares = [list(portions(torch.tensor(lengths), rank, world_size, micro_batch_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    counted = [portion.sequences for portion in itertools.chain(*shares) if portion.counts]
    assert sorted(itertools.chain(*counted)) == list(range(len(lengths)))
    assert all(0 < len(portion.sequences) <= micro_batch_size for portion in itertools.chain(*shares))


def test_the_longest_sequences_come_first() -> None:
    (first, second) = portions(torch.tensor([3, 9, 5, 7]), rank=0, world_size=1, micro_batch_size=2)
    assert (first.sequences, second.sequences) == ([1, 3], [2, 0])


@pytest.fixture(scope="module")
def gang(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Gang:
    return Gang(tmp_path_factory.mktemp("evaluate"), tiny_model)


def held_out(folder: Path, file: Path, **changes: Any) -> Dataset:
    job = QLoRAJobSpec.model_validate(spec(evaluation={"source": "pvc://data/train.jsonl"}, **changes))
    make_held_out(folder, [[file]], job, make_tokenizer())
    return load_dataset(folder)


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "comm", MagicMock(get_rank=lambda: 0, get_world_size=lambda: 1))


@pytest.fixture
def model(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """With dropout in its adapter, which has learned something."""
    alone(monkeypatch)
    changed = QLoRAJobSpec.model_validate(spec(adapter={"dropout": 0.5}))
    loaded = load_model(str(tiny_model), changed, CPU)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in loaded.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 10)
    return loaded


def test_the_loss_is_the_mean_over_learned_tokens_packed_or_not(gang: Gang, model: Any, tmp_path: Path) -> None:
    file = gang.volumes / "data/train.jsonl"
    apart = held_out(tmp_path / "apart", file)
    packed = held_out(tmp_path / "packed", file, training={"packing": True, "sequenceLength": 160})
    assert len(packed) < len(apart) == len(ROWS)
    model.eval()
    with torch.no_grad():
        total = sum(loss_sum(model, collate(apart, [number])).item() for number in range(len(apart)))
    model.train()
    expected = total / int(apart.targets.sum())
    assert mean_loss(model, apart, 1, lambda: True) == pytest.approx(expected, rel=1e-6)
    assert mean_loss(model, apart, 4, lambda: True) == pytest.approx(expected, rel=1e-5)
    assert mean_loss(model, packed, 2, lambda: True) == pytest.approx(expected, rel=1e-5)
    assert model.training


def test_an_evaluation_that_is_told_not_to_go_on_has_no_result_and_leaves_the_model_in_training(
    gang: Gang, model: Any, tmp_path: Path
) -> None:
    answers = iter([True, False])
    dataset = held_out(tmp_path / "tokens", gang.volumes / "data/train.jsonl")
    assert mean_loss(model, dataset, 1, lambda: next(answers)) is None
    assert model.training
    assert list(answers) == [], "it stopped after the second portion"


def test_what_is_split_off_is_not_learned_and_nothing_is_lost(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(60)]
    (tmp_path / "rows.csv").write_text("text\n" + "\n".join(texts) + "\n")
    job = QLoRAJobSpec.model_validate(spec(dataset={"format": "text"}, evaluation={"fraction": 0.3}))
    tokenizer = make_tokenizer()
    make_dataset(tmp_path / "learned", [[tmp_path / "rows.csv"]], job, tokenizer)
    make_held_out(tmp_path / "held-out", [[tmp_path / "rows.csv"]], job, tokenizer)

    def read(name: str) -> list[str]:
        data = load_dataset(tmp_path / name)
        return [tokenizer.decode(data.document(n).ids, skip_special_tokens=True) for n in range(len(data.members))]

    assert read("held-out") == [text for text in texts if is_held_out(Text(text), 0.3, job.training.seed)]
    assert read("learned") == [text for text in texts if text not in read("held-out")]


@pytest.mark.parametrize(
    ("every_steps", "of", "between"), [(None, 100, 10), (None, 7, 1), (None, 1, 1), (None, 101, 11), (25, 100, 25)]
)
def test_by_default_a_run_is_evaluated_about_ten_times(every_steps: int | None, of: int, between: int) -> None:
    evaluation = QLoRAJobSpec.model_validate(spec(evaluation={"fraction": 0.1, "everySteps": every_steps})).evaluation
    assert evaluation is not None
    assert steps_between(evaluation, of) == between


def test_a_prompt_is_rendered_as_a_chat_and_a_row_is_cut_before_its_last_answer(gang: Gang, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    dataset = held_out(tmp_path / "tokens", gang.volumes / "data/train.jsonl")
    samples = SamplesSpec(prompts=["Hello"], rows=2)
    given, first, second = make_prompts(samples, DatasetSpec(source="pvc://data/train.jsonl"), dataset, tokenizer)
    assert tokenizer.decode(given.ids) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert (given.text, given.expected) == ("Hello", None)
    assert first.text == "<|im_start|>user\nSay amber<|im_end|>\n<|im_start|>assistant\n"
    assert first.expected is not None
    assert first.expected.strip() == "amber"
    assert second.text.count("birch") == 1


def test_without_a_chat_a_prompt_is_the_beginning_of_a_text(gang: Gang, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    dataset = held_out(tmp_path / "tokens", gang.volumes / "data/train.jsonl")
    texts = DatasetSpec(source="pvc://data/train.jsonl", format="text")
    (given,) = make_prompts(SamplesSpec(prompts=["Once"]), texts, dataset, tokenizer)
    assert tokenizer.decode(given.ids) == "Once"


@pytest.mark.parametrize(
    ("learned", "begin"),
    [([0, 0, 1, 1, 0], 2), ([0, 1, 1, 0, 0, 1, 1], 5), ([0, 1, 1, 1, 1, 1], 3), ([0, 1], 1)],
    ids=["one answer", "the last of two", "all is learned: the middle", "two tokens"],
)
def test_where_an_answer_begins(learned: list[int], begin: int) -> None:
    assert beginning_of_answer([bool(mark) for mark in learned]) == begin
