"""Finds the files of a dataset and checks every row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_api.spec import DatasetSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.folder import missing
from qlora_trainer.rows import read_rows


def dataset_files(source: str, path: Path) -> list[Path]:
    """The file itself, or the `.jsonl` files below a folder, sorted by path.

    Raises:
        TrainerError: there is none.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.jsonl") if file.is_file())
        if not files:
            raise TrainerError(
                Reason.DATASET_INVALID,
                f"dataset.source {source}: {path} has no .jsonl file; put one JSON object a line into *.jsonl",
            )
        return files
    if not path.exists():
        raise TrainerError(Reason.DATASET_INVALID, missing("dataset.source", source, path))
    return [path]


def check_dataset(files: Sequence[Path], dataset: DatasetSpec) -> None:
    """Reads every row once.

    Raises:
        TrainerError: a row is not of `dataset.format`, or there is no row, or a file cannot be read.
    """
    try:
        count = sum(1 for _ in read_rows(files, dataset))
    except OSError as error:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"dataset.source {dataset.source}: {error.filename}: {error.strerror}; make it readable for this user",
        ) from error
    if not count:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"dataset.source {dataset.source}: {files[0]} is empty; write one JSON object a line",
        )
    log.event("dataset", rows=count, files=len(files))
