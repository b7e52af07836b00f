"""Rows of every kind of file and format, and what is said about those that are wrong."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_api.spec import DatasetSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.rows import json_files, tables
from qlora_trainer.rows.content import Chat, Completion, Content, Fault, Text
from qlora_trainer.rows.formats import Shape, interpret
from qlora_trainer.rows.read import examine, read_rows

Rows = list[dict[str, Any]]
PAIRS = [
    {"prompt": "One, «two»?", "completion": 'drei, "vier"\nfünf', "note": "x"},
    {"prompt": "", "completion": "6", "note": ""},
    {"prompt": " a ", "completion": "b,", "note": "y"},
]


def write_arrow_stream(rows: Rows, file: Path) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def write_arrow_file(rows: Rows, file: Path) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def write_csv(rows: Rows, file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, tuple[str, Callable[[Rows, Path], None]]] = {
    "json lines": (".jsonl", lambda rows, file: _text(file, "\n\n".join(map(json.dumps, rows)))),
    "json lines in a .json file": (".json", lambda rows, file: _text(file, "\n".join(map(json.dumps, rows)))),
    "json list": (".json", lambda rows, file: _text(file, json.dumps(rows, indent=2, ensure_ascii=False))),
    "parquet": (".parquet", lambda rows, file: pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)),
    "arrow stream": (".arrow", write_arrow_stream),
    "arrow file": (".arrow", write_arrow_file),
    "csv": (".csv", write_csv),
}


def _text(file: Path, text: str) -> None:
    file.write_text(text)


def shape(row_format: str, loss: str | None = None, **columns: str) -> Shape:
    dataset = DatasetSpec.model_validate(
        {"source": "pvc://data/x", "format": row_format, "columns": columns or None, "loss": loss}
    )
    return Shape.of(dataset, dataset.parts[0])


def contents(file: Path, rows: Shape) -> list[Content]:
    return [row.content for row in read_rows([file], rows)]


def faults(file: Path, rows: Shape) -> dict[str, str]:
    return {row.where: row.what for row in examine([file], rows) if isinstance(row, Fault)}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_every_kind_of_file_holds_the_same_rows(
    kind: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "CHUNK", max(chunk, 7) if kind.startswith("json lines") else chunk)
    monkeypatch.setattr(tables, "AT_ONCE", chunk)
    ending, write = WRITERS[kind]
    write(PAIRS, tmp_path / f"rows{ending}")
    expected = [Completion(row["prompt"], row["completion"]) for row in PAIRS]
    assert contents(tmp_path / f"rows{ending}", shape("prompt-completion")) == expected


@pytest.mark.parametrize("kind", ["json list", "parquet", "arrow stream", "arrow file"])
def test_nested_messages_are_read_from_every_kind_of_file_that_can_hold_them(kind: str, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Eins."}]
    ending, write = WRITERS[kind]
    write([{"messages": chat, "id": 7}] * 3, tmp_path / f"rows{ending}")
    assert contents(tmp_path / f"rows{ending}", shape("messages")) == [Chat(chat)] * 3


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n")
    assert contents(tmp_path / "a.txt", shape("text")) == [Text("One.\n\nTwo.\n")]
    assert contents(tmp_path / "a.txt", shape("text", text="body")) == [Text("One.\n\nTwo.\n")]


@pytest.mark.parametrize(
    ("record", "columns", "expected"),
    [
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, {}, ["Add.\n\n1 2", "3"]),
        ({"instruction": "Add.", "input": "", "output": "3"}, {}, ["Add.", "3"]),
        ({"instruction": "Add.", "input": None, "output": "3"}, {}, ["Add.", "3"]),
        ({"instruction": "Add.", "output": "3"}, {}, ["Add.", "3"]),
        (
            {"task": "Add.", "answer": "3", "as": "Be brief."},
            {"instruction": "task", "output": "answer", "system": "as"},
            ["Be brief.", "Add.", "3"],
        ),
    ],
)
def test_an_instruction_is_a_chat(record: Any, columns: dict[str, str], expected: list[str]) -> None:
    chat = interpret(record, shape("instruction", **columns))
    assert isinstance(chat, Chat)
    assert [message["content"] for message in chat.messages] == expected
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant"][-len(expected) :]


def test_columns_and_roles_may_have_other_names() -> None:
    record = {"conversations": [{"from": "human", "value": "One?"}, {"from": "gpt", "value": "Eins."}], "as": "Brief."}
    renamed = shape("messages", messages="conversations", role="from", content="value", system="as")
    assert interpret(record, renamed) == Chat(
        [
            {"role": "system", "content": "Brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Eins."},
        ]
    )
    assert interpret({"body": "a"}, shape("text", text="body")) == Text("a")


@pytest.mark.parametrize(
    ("row_format", "record", "sentence"),
    [
        ("instruction", {"instruction": "a"}, "no field 'output'; it has 'instruction'"),
        ("messages", {"instruction": "a", "output": "b"}, "which is a row of dataset.format: instruction"),
        (
            "messages",
            {"conversations": [{"from": "human", "value": "a"}]},
            "perhaps write dataset.columns: {messages: conversations, role: from, content: value}",
        ),
        (
            "messages",
            {"messages": [{"from": "human", "value": "a"}]},
            "messages[0].role is not a text; write dataset.columns: {role: from, content: value}",
        ),
        ("text", {"text": 3}, "text is a int instead of a text"),
        ("prompt-completion", {"prompt": "a", "completion": None}, "completion is a NoneType instead of a text"),
    ],
)
def test_a_row_of_another_shape_is_told_with_what_to_write(row_format: str, record: Any, sentence: str) -> None:
    fault = interpret(record, shape(row_format))
    assert isinstance(fault, str)
    assert sentence in fault


def test_wrong_rows_are_told_by_file_and_place_and_the_others_are_read(tmp_path: Path) -> None:
    wanted = shape("text", text="body")
    (tmp_path / "a.jsonl").write_text('{"body": "a"}\n\n{"text": "b"}\n{"body"\n{"body": "c"}\n')
    assert list(faults(tmp_path / "a.jsonl", wanted)) == ["a.jsonl line 3", "a.jsonl line 4"]
    assert 'a row of format text is {"body": "…"}' in faults(tmp_path / "a.jsonl", wanted)["a.jsonl line 3"]
    (tmp_path / "b.json").write_text('[{"body": "a"}, {"text": "b"}, 3]')
    assert list(faults(tmp_path / "b.json", wanted)) == ["b.json row 2", "b.json row 3"]
    (tmp_path / "c.csv").write_text('body,b\n"two\nlines",1\nx\ny,1\nz,1,2\n')
    found = faults(tmp_path / "c.csv", wanted)
    assert list(found) == ["c.csv line 4", "c.csv line 6"]
    assert "not the 2 fields of the header" in found["c.csv line 4"]
    pq.write_table(pa.Table.from_pylist([{"body": "a"}, {"body": None}]), tmp_path / "d.parquet")
    assert list(faults(tmp_path / "d.parquet", wanted)) == ["d.parquet row 2"]
    with pytest.raises(TrainerError, match=r"a\.jsonl line 3: no field 'body'"):
        list(read_rows([tmp_path / "a.jsonl"], wanted))


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    files = [tmp_path / "data" / name / "a.jsonl" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text('{"text": "a"}\n')
    assert [row.where for row in read_rows(files, shape("text"))] == ["one/a.jsonl line 1", "two/a.jsonl line 1"]


@pytest.mark.parametrize(
    ("name", "content", "where", "sentence"),
    [
        ("a.parquet", b"PAR1 and no more", "a.parquet", "damaged, or no .parquet file"),
        ("a.arrow", b"ARROW1 and no more", "a.arrow", "damaged, or no .arrow file"),
        ("a.arrow", b"nothing of the kind", "a.arrow", "damaged, or no .arrow file"),
        ("a.json", b'[{"text": "a"}, {"text"', "a.json row 2", "not JSON"),
        ("a.json", b'[{"text": "a"}', "a.json row 2", "not JSON"),
        ("a.json", b'[{"text": "\xff"}]', "a.json", "not UTF-8"),
        ("a.jsonl", b'{"text": "\xff"}', "a.jsonl line 1", "not UTF-8 at byte 10"),
        ("a.csv", b'text\n"open', "a.csv line 2", "not CSV"),
        ("a.csv", b"text\n\xff\n", "a.csv", "not UTF-8"),
        ("a.txt", b"\xff", "a.txt", "not UTF-8"),
    ],
)
def test_a_damaged_file_is_told(name: str, content: bytes, where: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = faults(tmp_path / name, shape("text"))
    assert list(found) == [where]
    assert sentence in found[where]


def test_a_text_file_that_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qlora_trainer.rows.files.TEXT_LIMIT", 2**20)
    (tmp_path / "a.txt").write_bytes(b"a" * (2**20 + 1))
    assert "larger than 1 MiB" in faults(tmp_path / "a.txt", shape("text"))["a.txt"]


@given(
    values=st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())), max_size=8),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
)
def test_a_list_is_read_whole_however_it_is_cut(
    values: list[dict[str, Any]], chunk: int, indent: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("list") / "a.json"
    file.write_text("\n" + json.dumps(values, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "CHUNK", max(chunk, 2))
        assert [record.value for record in json_files.read_json(file)] == values


@pytest.mark.parametrize("kind", WRITERS)
def test_a_large_file_is_never_held_as_a_whole(kind: str, tmp_path: Path) -> None:
    ending, write = WRITERS[kind]
    file = tmp_path / f"rows{ending}"
    write([{"prompt": f"{number}", "completion": "x" * 4000} for number in range(10_000)], file)
    tracemalloc.start()
    count = sum(1 for _ in read_rows([file], shape("prompt-completion")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 10_000 * 4000 / 4
