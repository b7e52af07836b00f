"""The tokenised dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.data import Dataset, load_dataset, make_dataset
from unit.trainer.pods import spec
from unit.trainer.tiny_model import make_tokenizer


def dataset(folder: Path, rows: list[dict[str, str]], length: int, packing: bool = False) -> Dataset:
    folder.mkdir(exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = QLoRAJobSpec.model_validate(
        spec(dataset={"format": "prompt-completion"}, training={"sequenceLength": length, "packing": packing})
    )
    make_dataset(folder / "tokens", [file], job, make_tokenizer())
    return load_dataset(folder / "tokens")


def test_a_row_is_cut_at_the_end_and_the_first_token_is_never_a_target(tmp_path: Path) -> None:
    made = dataset(tmp_path, [{"prompt": "ab", "completion": "cdefghijkl"}, {"prompt": "", "completion": "xy"}], 8)
    ((ids, learned),) = made.sequence(0)
    assert len(ids) == 8
    assert learned.tolist() == [False, False] + [True] * 6
    assert made.sequence(1)[0].learned.tolist() == [False, True, True]
    assert made.targets.tolist() == [6, 2]


def test_rows_with_nothing_left_to_learn_are_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = dataset(tmp_path, [{"prompt": "a" * 8, "completion": "b"}, {"prompt": "a" * 7, "completion": "b"}], 8)
    assert len(made) == 1
    assert made.targets.tolist() == [1]
    event = json.loads(capsys.readouterr().out)
    assert (event["dropped"], event["cut"], event["rows"]) == (1, 1, 1)


def test_no_row_left_is_an_error_of_the_dataset(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="in all 2 rows, nothing to learn is left within") as error:
        dataset(tmp_path, [{"prompt": "a" * 8, "completion": "b"}] * 2, 8)
    assert error.value.reason == Reason.DATASET_INVALID
    assert not (tmp_path / "tokens").exists()


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
