"""The tokenised dataset."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.data import Dataset, load_dataset
from qlora_trainer.rank.make_data import make_dataset
from unit.trainer.pods import spec
from unit.trainer.tiny_model import make_tokenizer


def made(folder: Path, *files: Path, **changes: Any) -> Dataset:
    job = QLoRAJobSpec.model_validate(spec(**changes))
    make_dataset(folder / "tokens", [[file] for file in files], job, make_tokenizer())
    return load_dataset(folder / "tokens")


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def dataset(folder: Path, rows: list[dict[str, Any]], length: int, packing: bool = False) -> Dataset:
    training = {"sequenceLength": length, "packing": packing}
    file = write(folder / "rows.jsonl", rows)
    return made(folder, file, dataset={"format": "prompt-completion"}, training=training)


def test_a_row_is_cut_at_the_end_and_the_first_token_is_never_a_target(tmp_path: Path) -> None:
    data = dataset(tmp_path, [{"prompt": "ab", "completion": "cdefghijkl"}, {"prompt": "", "completion": "xy"}], 8)
    ((ids, learned),) = data.sequence(0)
    assert len(ids) == 8
    assert learned.tolist() == [False, False] + [True] * 6
    assert data.sequence(1)[0].learned.tolist() == [False, True, True]
    assert data.targets.tolist() == [6, 2]


def test_a_row_with_a_long_prompt_loses_its_beginning_and_not_its_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dataset(tmp_path, [{"prompt": "a" * 20, "completion": "b"}, {"prompt": "a", "completion": "b"}], 8)
    assert data.targets.tolist() == [2, 2]
    assert data.sequence(0)[0].learned.tolist() == [False] * 6 + [True] * 2
    event = json.loads(capsys.readouterr().out)
    assert (event["dropped"], event["cut"], event["rows"], event["learned"]) == (0, 1, 2, 4)


def test_a_dataset_with_nothing_to_learn_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"messages": [{"role": "assistant", "content": "a"}]}] * 2)
    template = "{% for message in messages %}{% if message['role'] == 'user' %}x{% endif %}{% endfor %}yy"
    tokenizer = make_tokenizer(template)
    with pytest.raises(TrainerError, match="in all 2 rows there is nothing to learn") as error:
        make_dataset(tmp_path / "tokens", [[file]], QLoRAJobSpec.model_validate(spec()), tokenizer)
    assert error.value.reason == Reason.DATASET_INVALID
    assert not (tmp_path / "tokens").exists()


def test_a_row_that_the_template_refuses_is_told_by_its_place(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": role, "content": "a"}, {"role": "assistant", "content": "b"}]} for role in "ux"]
    tokenizer = make_tokenizer("{% if messages[0]['role'] == 'x' %}{{ raise_exception('no x') }}{% endif %}aa")
    file = write(tmp_path / "rows.jsonl", rows)
    job = QLoRAJobSpec.model_validate(spec(dataset={"loss": "all"}))
    with pytest.raises(TrainerError, match=r"rows\.jsonl line 2: the chat template refuses it \(no x\)") as error:
        make_dataset(tmp_path / "tokens", [[file]], job, tokenizer)
    assert error.value.reason == Reason.DATASET_INVALID


def test_a_long_text_is_learned_in_pieces_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"text": "abcdefghijklmnopqrstuvwxyz"}, {"text": "xy"}])
    data = made(tmp_path, file, dataset={"format": "text"}, training={"sequenceLength": 8})
    assert data.lengths.tolist() == [8, 8, 8, 6, 3]
    assert data.targets.sum() == 26 + 2
    assert data.sequence(1)[0].ids[0] == data.sequence(0)[0].ids[-1]


def test_datasets_of_several_kinds_are_mixed_and_never_share_a_sequence(tmp_path: Path) -> None:
    chats = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 3
    files = (write(tmp_path / "chats.jsonl", chats), write(tmp_path / "texts.jsonl", [{"text": "abc"}] * 5))
    mix = [{"source": "pvc://data/a", "weight": 2}, {"source": "pvc://data/b", "format": "text", "weight": 0.5}]
    parts = {"source": None, "mix": mix}
    apart = made(tmp_path / "apart", *files, dataset=parts)
    assert (apart.mix.sizes, apart.mix.weights) == ((3, 5), (2.0, 0.5))
    packed = made(tmp_path / "packed", *files, dataset=parts, training={"sequenceLength": 64, "packing": True})
    assert sum(packed.mix.sizes) == len(packed) < len(apart)
    tokenizer = make_tokenizer()
    for number in range(len(packed)):
        texts = {tokenizer.decode(document.ids) for document in packed.sequence(number)}
        assert len(texts) == 1
        assert ("abc" in texts.pop()) == (number >= packed.mix.sizes[0])


def test_a_dataset_is_written_row_after_row_and_mapped(tmp_path: Path) -> None:
    rows = [{"text": "x" * 4000}] * 2000
    file = write(tmp_path / "rows.jsonl", rows)
    tracemalloc.start()
    data = made(tmp_path, file, dataset={"format": "text"}, training={"sequenceLength": 4096})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.ids) == len(data.learned) == 2000 * 4001
    assert peak < len(data.ids) * 4 / 4


def test_the_digest_tells_the_files_apart(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}]
    one, same = (dataset(tmp_path / name, rows, 8) for name in "ab")
    other = dataset(tmp_path / "c", [*rows, *rows], 8)
    assert one.sha256 == same.sha256 != other.sha256


def test_packed_rows_share_sequences_and_are_all_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": "a" * number, "completion": "bc"} for number in range(10)]
    apart = dataset(tmp_path / "apart", rows, 24)
    packed = dataset(tmp_path / "packed", rows, 24, packing=True)
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["event"], event["documents"], event["sequences"]) == ("packed", 10, len(packed))
    assert len(packed) == 4
    assert event["fill"] == round(75 / (4 * 24), 4)
    assert packed.targets.sum() == apart.targets.sum()
    documents = sorted(document.ids.tolist() for number in range(4) for document in packed.sequence(number))
    assert documents == sorted(document.ids.tolist() for number in range(10) for document in apart.sequence(number))
    for number in range(4):
        assert packed.lengths[number] == sum(len(document.ids) for document in packed.sequence(number)) <= 24
