"""Chats with images as tokens: those that the processor itself makes, with the assistant's words learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import FAMILIES, family_of
from qlora_trainer.rank.data import Dataset, load_dataset
from qlora_trainer.rank.loss import collate
from qlora_trainer.rank.make_data import make_dataset
from qlora_trainer.rank.tokenizer import load_reader
from unit.trainer.pods import spec
from unit.trainer.tiny_model import WITH_GENERATION
from unit.trainer.vqa import row, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUESTION = {"role": "user", "content": "<image>then <image>?"}
TWO = {"messages": [QUESTION, {"role": "assistant", "content": "red, blue"}], "images": ["wide.png", "tall.png"]}
PARTS = WITH_GENERATION.replace("message['content'] +", "said(message) +").replace(
    "{% for message in messages %}",
    "{% macro said(message) %}{% for part in message['content'] %}{{ '<image>' if part['type'] == 'image' else "
    "part['text'] }}{% endfor %}{% endmacro %}{% for message in messages %}",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (80, 40), "red").save(tmp_path / "wide.png")
    Image.new("RGB", (30, 90), "blue").save(tmp_path / "tall.png")
    return tmp_path


def tokenised(model: Path, folder: Path, *rows: Any, length: int = 256, **dataset: Any) -> tuple[Dataset, Any]:
    job = QLoRAJobSpec.model_validate(spec(training={"sequenceLength": length}, dataset=dataset))
    write_rows(folder / "rows.jsonl", list(rows))
    reader = load_reader(str(model), job.dataset)
    make_dataset(folder / "tokens", [[folder / "rows.jsonl"]], job, reader)
    return load_dataset(folder / "tokens", reader, family_of(model)), reader


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_pixels_are_the_processors_own(vlms: Path, folder: Path, family: str) -> None:
    dataset, processor = tokenised(vlms / family, folder, TWO)
    batch = collate(dataset, [0])
    parts = [{"type": "image"}, {"type": "text", "text": "then "}, {"type": "image"}, {"type": "text", "text": "?"}]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "red, blue"}]}
    text = processor.apply_chat_template([{"role": "user", "content": parts}, answer])
    images = [Image.open(folder / name).convert("RGB") for name in TWO["images"]]
    own = processor(images=[images], text=[text], return_tensors="pt")
    assert batch.images is not None
    assert torch.equal(batch.input_ids, own["input_ids"])
    assert batch.images.keys() == own.keys() - {"input_ids", "attention_mask"}
    assert all(torch.equal(value, own[name]) for name, value in batch.images.items())
    document = dataset.document(0)
    assert processor.tokenizer.decode(document.ids[document.learned]) == "red, blue<|im_end|>\n"


@pytest.mark.parametrize(
    ("loss", "learned"),
    [("completion", "b<|im_end|>\n"), ("assistant", "a<|im_end|>\nb<|im_end|>\n"), ("all", None)],
)
def test_images_are_never_learned(vlms: Path, folder: Path, loss: str, learned: str | None) -> None:
    turns = [QUESTION, {"role": "assistant", "content": "a"}, {"role": "user", "content": "and?"}]
    row = {"messages": [*turns, {"role": "assistant", "content": "b"}], "images": ["wide.png", "tall.png"]}
    dataset, processor = tokenised(vlms / "llava", folder, row, loss=loss)
    document = dataset.document(0)
    told = processor.tokenizer.decode(document.ids[document.learned])
    whole = processor.tokenizer.decode(document.ids).replace("<image>", "").removeprefix("<|im_start|>")
    assert told == (whole if learned is None else learned)


def test_a_template_may_say_itself_what_is_learned(vlms: Path, folder: Path) -> None:
    dataset, processor = tokenised(vlms / "llava", folder, TWO, chatTemplate=PARTS)
    document = dataset.document(0)
    assert processor.tokenizer.decode(document.ids[document.learned]) == "red, blue<|im_end|>"


def test_a_row_is_never_cut_through_an_image(vlms: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = {"messages": [{"role": "user", "content": "x" * 60 + "<image>"}, TWO["messages"][1]], "image": "wide.png"}
    long = row("wide.png", "?", "red" * 40)
    dataset, _ = tokenised(vlms / "llava", folder, late, long, length=64)
    assert dataset.lengths.tolist() == [64]
    assert dataset.images is not None
    assert len(dataset.images.files.of(0)) == 1
    told = next(line for line in map(json.loads, capsys.readouterr().out.splitlines()) if line["event"] == "tokenized")
    assert (told["rows"], told["cut"], told["dropped"], told["images_cut"]) == (1, 1, 1, 1)


def test_an_image_is_kept_once(vlms: Path, folder: Path) -> None:
    rows = [row(name, "?", "red") for name in ("wide.png", "tall.png", "wide.png", "wide.png")]
    dataset, _ = tokenised(vlms / "llava", folder, *rows)
    assert dataset.images is not None
    files = dataset.images.files
    assert files.content.numel() == sum((folder / name).stat().st_size for name in ("wide.png", "tall.png"))
    assert files.of(3) == [(folder / "wide.png").read_bytes()]


def test_another_image_is_other_data(vlms: Path, folder: Path, tmp_path: Path) -> None:
    before, _ = tokenised(vlms / "llava", folder, TWO)
    (folder / "tokens").rename(folder / "before")
    Image.new("RGB", (30, 90), "green").save(folder / "tall.png")
    after, _ = tokenised(vlms / "llava", folder, TWO)
    assert before.sha256 != after.sha256


def test_a_text_that_stands_for_an_image_is_refused(vlms: Path, folder: Path) -> None:
    spoken = {"messages": [{"role": "user", "content": "<|image_pad|>"}, {"role": "assistant", "content": "?"}]}
    with pytest.raises(TrainerError, match=r"rows.jsonl line 1: rendered, it has 1 times <\|image_pad\|>"):
        tokenised(vlms / "qwen2_vl", folder, spoken)


def test_an_image_that_is_cut_off_is_refused(vlms: Path, folder: Path) -> None:
    file = folder / "wide.png"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(TrainerError, match=r"rows.jsonl line 1: an image is damaged"):
        tokenised(vlms / "llava", folder, row("wide.png", "?", "red"))


@pytest.mark.parametrize("dataset", [{"format": "instruction"}, {"format": "text"}, {"format": "prompt-completion"}])
def test_rows_of_text_are_read_by_a_model_that_sees(vlms: Path, folder: Path, dataset: dict[str, str]) -> None:
    fields = {"instruction": "a", "output": "b", "text": "abc", "prompt": "a", "completion": "b"}
    made, _ = tokenised(vlms / "gemma3", folder, fields, **dataset)
    batch = collate(made, [0])
    assert batch.images is not None
    assert batch.images.keys() == {"token_type_ids"}
