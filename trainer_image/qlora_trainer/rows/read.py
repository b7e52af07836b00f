"""Reads the rows of a dataset, and finds what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.rows.content import Fault, Row
from qlora_trainer.rows.files import read_records
from qlora_trainer.rows.formats import Shape, interpret


def examine(files: Sequence[Path], shape: Shape) -> Iterator[Row | Fault]:
    """Each row in turn, or what is wrong with it. Files are called by their path from the folder that holds them all.

    Raises:
        OSError: a file cannot be read.
    """
    expected = f"a row of format {shape.format} is {shape.example}"
    root = Path(os.path.commonpath([file.parent for file in files]))
    for file in files:
        for record in read_records(file, shape.fields):
            where = f"{file.relative_to(root)} {record.where}".rstrip()
            content = record.fault or interpret(record.value, shape, file.parent)
            if isinstance(content, str):
                yield Fault(where, f"{content}; {expected}" if record.where else content)
            else:
                yield Row(where, content)


def read_rows(files: Sequence[Path], shape: Shape) -> Iterator[Row]:
    """All rows, file after file.

    Raises:
        TrainerError: DatasetInvalid, at the first row that cannot be used.
        OSError: a file cannot be read.
    """
    for row in examine(files, shape):
        if isinstance(row, Fault):
            raise TrainerError(Reason.DATASET_INVALID, f"{row.where}: {row.what}")
        yield row
