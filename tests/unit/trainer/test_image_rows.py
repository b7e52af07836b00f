"""Rows with images: where an image may stand, and what is said about one that is wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from qlora_api.spec import DatasetSpec
from qlora_trainer.rows.content import Fault, ImageChat, Row
from qlora_trainer.rows.formats import Shape
from qlora_trainer.rows.held_out import is_held_out
from qlora_trainer.rows.images import decode
from qlora_trainer.rows.read import examine
from unit.trainer.vqa import row, write_rows

ANSWER = {"role": "assistant", "content": "red"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two images, one of another kind, and a text that is called an image."""
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (4, 3), "red").save(data / "red.png")
    Image.new("L", (2, 2)).save(data / "grey.jpg")
    Image.new("RGB", (1, 1)).save(tmp_path / "outside.png")
    (data / "text.png").write_text("no image")
    return data


def read(folder: Path, *rows: Any, images: bool = True, **dataset: Any) -> list[Row | Fault]:
    write_rows(folder / "rows.jsonl", list(rows))
    return found(folder / "rows.jsonl", images, **dataset)


def found(file: Path, images: bool = True, **dataset: Any) -> list[Row | Fault]:
    spec = DatasetSpec.model_validate({"source": "pvc://data/x", **dataset})
    return list(examine([file], Shape.of(spec, spec.parts[0], has_images=images)))


def chat(value: Row | Fault) -> tuple[list[str], list[str]]:
    """What the user says, an image as <>, and the names of the images."""
    assert isinstance(value, Row), value
    assert isinstance(value.content, ImageChat)
    said = ["".join(part.get("text", "<>") for part in message["content"]) for message in value.content.messages]
    return said, [picture.name for picture in value.content.images]


@pytest.mark.parametrize(
    ("content", "beside", "said"),
    [
        ([{"type": "image", "image": "red.png"}, {"type": "text", "text": "?"}], {}, "<>?"),
        ([{"type": "text", "text": "a"}, {"type": "image", "path": "red.png"}], {}, "a<>"),
        ([{"type": "image", "url": "red.png", "text": None}], {}, "<>"),
        ([{"type": "image"}, {"type": "text", "text": "b"}], {"images": ["red.png"]}, "<>b"),
        ("a <image> b", {"image": "red.png"}, "a <> b"),
        ("nothing said of it", {"images": ["red.png"]}, "<>nothing said of it"),
        ("named", {"columns": {"images": "picture"}, "picture": "red.png"}, "<>named"),
    ],
)
def test_an_image_stands_in_a_message_or_beside_all(
    folder: Path, content: Any, beside: dict[str, Any], said: str
) -> None:
    columns = {"columns": beside.pop("columns")} if "columns" in beside else {}
    (only,) = read(folder, {"messages": [{"role": "user", "content": content}, ANSWER], **beside}, **columns)
    assert chat(only) == ([said, "red"], ["red.png"])


def test_images_keep_the_order_of_their_places(folder: Path) -> None:
    content = [{"type": "image"}, {"type": "image", "image": "grey.jpg"}, {"type": "text", "text": "<image>"}]
    messages = [{"role": "user", "content": content}, ANSWER]
    (only,) = read(folder, {"messages": messages, "images": ["red.png", "grey.jpg"]})
    assert chat(only)[1] == ["red.png", "grey.jpg", "grey.jpg"]


def test_a_row_without_images_is_one_of_text(folder: Path) -> None:
    (only,) = read(folder, {"messages": [{"role": "user", "content": "hi"}, ANSWER]})
    assert chat(only) == (["hi", "red"], [])


def test_images_within_parquet_are_those_of_datasets(tmp_path: Path) -> None:
    made = io.BytesIO()
    Image.new("RGB", (5, 7), "blue").save(made, "PNG")
    rows = [
        {
            "messages": [{"role": "user", "content": "<image>?"}, ANSWER],
            "images": [{"bytes": made.getvalue(), "path": None}],
            "note": "not read",
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (only,) = found(tmp_path / "rows.parquet")
    assert isinstance(only, Row)
    assert isinstance(only.content, ImageChat)
    assert decode(only.content.images[0].read()).size == (5, 7)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ("gone.png", "'gone.png' does not exist below the folder of this file; write the path from there"),
        ("text.png", "'text.png' is not an image; write one that Pillow opens, such as PNG or JPEG"),
        ("../outside.png", "'../outside.png' lies outside the folder of this file; write a path below it"),
        ("/etc/hostname", "'/etc/hostname' lies outside the folder of this file"),
        ("https://a.example/b.png", "'https://a.example/b.png' is an address, and nothing is fetched from there"),
        ("data:image/png;base64,iVBO", "is an address, and nothing is fetched from there; write the path of a file"),
        (7, "is no image; write its path from the folder of this file"),
    ],
)
def test_a_wrong_image_is_named_with_its_line(folder: Path, image: Any, sentence: str) -> None:
    good, wrong = read(folder, row("red.png", "?", "red"), row(image, "?", "red"))
    assert isinstance(good, Row)
    assert isinstance(wrong, Fault)
    assert wrong.where == "rows.jsonl line 2"
    assert wrong.what.startswith("messages[0].content[0]: ")
    assert sentence in wrong.what


def test_a_link_out_of_the_folder_is_no_way_out(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (wrong,) = read(folder, row("link.png", "?", "red"))
    assert isinstance(wrong, Fault)
    assert "lies outside the folder" in wrong.what


@pytest.mark.parametrize(
    ("messages", "images", "sentence"),
    [
        (
            [{"role": "user", "content": "<image><image>"}, ANSWER],
            ["red.png"],
            "2 places for images and 1 images beside the messages; write one place for each, <image> or a part of type "
            "image, or none",
        ),
        ([{"role": "user", "content": "<image>"}, ANSWER], [], "1 places for images and 0 images beside the messages"),
        (
            [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<image>"}],
            ["red.png"],
            "messages[1] of the assistant has an image, which is not learned; put it into a message of the user",
        ),
        (
            [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}, ANSWER],
            [],
            "messages[0].content[0] is of type 'video' without its value; write {type: text, text: …} or {type: image",
        ),
        ([{"role": "user", "content": ["?"]}, ANSWER], [], "messages[0].content[0] is not an object"),
        ([{"role": "user", "content": 5}, ANSWER], [], "messages[0].content is neither a text nor a list of parts"),
        ([ANSWER], ["red.png"], "images stand beside messages of which none is the user's"),
    ],
)
def test_a_wrong_place_is_named(folder: Path, messages: Any, images: Any, sentence: str) -> None:
    (wrong,) = read(folder, {"messages": messages, "images": images})
    assert isinstance(wrong, Fault)
    assert sentence in wrong.what


def test_a_model_of_text_takes_no_parts(folder: Path) -> None:
    (wrong,) = read(folder, row("red.png", "?", "red"), images=False)
    assert isinstance(wrong, Fault)
    assert "messages[0].content is not a text" in wrong.what


def test_what_is_held_out_depends_on_the_image(folder: Path, tmp_path: Path) -> None:
    rows = [row(name, "?", "red") for name in ("red.png", "grey.jpg") for _ in range(2)]
    contents = [value.content for value in read(folder, *rows) if isinstance(value, Row)]
    sides = [tuple(is_held_out(content, 0.5, seed) for content in contents) for seed in range(32)]
    assert all(a == b and c == d for a, b, c, d in sides)
    assert any(a != c for a, _, c, _ in sides)


def test_an_image_is_read_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 2))
    turned = image.getexif()
    turned[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=turned)
    assert decode((tmp_path / "turned.jpg").read_bytes()).size == (2, 6)
