"""Reads tables: Parquet and Arrow a few rows at a time, and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qlora_trainer.rows.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 256
"""Rows that are Python objects at a time."""
FIELD_LIMIT = 2**30
"""Characters of a field of CSV."""
_ARROW_FILE = b"ARROW1"


def read_parquet(file: Path, fields: list[str]) -> Iterator[Record]:
    """The rows of a Parquet file, without the columns that are not in `fields` if it has all of those.

    Raises:
        ValueError: the file is damaged.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, memory_map=True) as table:
        columns = _needed(table.schema_arrow.names, fields)
        yield from _records(table.iter_batches(batch_size=AT_ONCE, columns=columns))


def read_arrow(file: Path, fields: list[str]) -> Iterator[Record]:
    """The rows of an Arrow file or stream, as `save_to_disk` of datasets writes it.

    Raises:
        ValueError: the file is damaged.
    """
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        is_file = source.read(len(_ARROW_FILE)) == _ARROW_FILE
        source.seek(0)
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        columns = _needed(reader.schema.names, fields)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else iter(reader)
        yield from _records(batch.select(columns) for batch in batches)


def read_csv(file: Path) -> Iterator[Record]:
    """The rows of a CSV file with a header; every field is a text."""
    csv.field_size_limit(FIELD_LIMIT)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, strict=True)
        where = "line 1"
        try:
            fields = len(rows.fieldnames or ())  # reads the header
            where = f"line {rows.line_num + 1}"
            for row in rows:
                is_whole = None not in row and None not in row.values()
                yield Record(where, row) if is_whole else Record(where, None, f"not the {fields} fields of the header")
                where = f"line {rows.line_num + 1}"
        except csv.Error as error:
            yield Record(where, None, f"not CSV ({error})")


def _needed(names: list[str], fields: list[str]) -> list[str]:
    """The columns to read: those in `fields`, or all, so that one can say what there is instead."""
    return [name for name in names if name in fields] if set(fields) <= set(names) else names


def _records(batches: Iterable[pa.RecordBatch]) -> Iterator[Record]:
    number = 0
    for batch in batches:
        for begin in range(0, len(batch), AT_ONCE):
            for value in batch.slice(begin, AT_ONCE).to_pylist():
                number += 1
                yield Record(f"row {number}", value)
