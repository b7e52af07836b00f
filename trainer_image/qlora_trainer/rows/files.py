"""Reads a data file by its ending."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qlora_trainer.rows.json_files import read_json, read_json_lines
from qlora_trainer.rows.record import Record
from qlora_trainer.rows.tables import read_arrow, read_csv, read_parquet

ENDINGS = (".jsonl", ".json", ".parquet", ".arrow", ".csv", ".txt")
TEXT_LIMIT = 64 * 2**20
"""Bytes of a text file, which is one document."""


def read_records(file: Path, fields: list[str]) -> Iterator[Record]:
    """The records of a file, one after another; one that is damaged ends with a fault.

    Args:
        file: its ending says what it is; without a known one it is read like `.jsonl`.
        fields: the fields that are needed.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        yield from _reader(file, fields)
    except UnicodeDecodeError as error:
        yield Record("", None, f"not UTF-8 ({error.reason} at byte {error.start} of a block)")
    except ValueError as error:  # all that pyarrow finds wrong with a file's content
        yield Record("", None, f"damaged, or no {file.suffix} file ({error}); copy it again")


def _reader(file: Path, fields: list[str]) -> Iterator[Record]:
    match file.suffix:
        case ".json":
            return read_json(file)
        case ".parquet":
            return read_parquet(file, fields)
        case ".arrow":
            return read_arrow(file, fields)
        case ".csv":
            return read_csv(file)
        case ".txt":
            return _read_text(file, fields[0])
        case _:
            return read_json_lines(file)


def _read_text(file: Path, field: str) -> Iterator[Record]:
    if file.stat().st_size > TEXT_LIMIT:
        yield Record("", None, f"larger than {TEXT_LIMIT >> 20} MiB; write a .txt file for each document, or .jsonl")
    else:
        yield Record("", {field: file.read_text(encoding="utf-8-sig")})
