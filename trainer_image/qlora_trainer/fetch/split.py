"""Checks the rows that are learned and those that are held out: neither may be empty."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_api.spec import DatasetPart, QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.dataset import check_rows, dataset_files
from qlora_trainer.rows.held_out import is_held_out


def check_dataset(spec: QLoRAJobSpec, paths: list[Path], has_images: bool = False) -> list[list[Path]]:
    """The files of each part of the dataset, in which every row was checked.

    Args:
        spec: the job's.
        paths: where each part lies.
        has_images: whether the model sees.

    Raises:
        TrainerError: a part cannot be used, or `evaluation.fraction` leaves nothing on one of its sides.
    """
    parts = spec.dataset.parts
    files = [dataset_files(part, path) for part, path in zip(parts, paths, strict=True)]
    fraction = spec.evaluation.fraction if spec.evaluation is not None else None
    if fraction is None:
        for part, found in zip(parts, files, strict=True):
            check_rows(part, found, spec.dataset, has_images=has_images)
        return files
    choose = partial(is_held_out, fraction=fraction, seed=spec.training.seed)
    counts = [
        check_rows(part, found, spec.dataset, is_held_out=choose, has_images=has_images)
        for part, found in zip(parts, files, strict=True)
    ]
    _check_sides(parts, counts, fraction)
    return files


def check_held_out(part: DatasetPart, path: Path, spec: QLoRAJobSpec, has_images: bool = False) -> list[Path]:
    """The files of `evaluation.source`, in which every row was checked.

    Raises:
        TrainerError: they cannot be used.
    """
    files = dataset_files(part, path, "evaluation.source")
    check_rows(part, files, spec.dataset, "evaluation.source", has_images=has_images)
    return files


def _check_sides(parts: list[DatasetPart], counts: list[tuple[int, int]], fraction: float) -> None:
    rows = sum(map(sum, counts))
    if not any(held_out for _, held_out in counts):
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"evaluation.fraction: {fraction:g} of {rows} rows splits off none; write a larger fraction, or "
            "evaluation.source with rows of their own",
        )
    for part, (learned, _) in zip(parts, counts, strict=True):
        if not learned:
            raise TrainerError(
                Reason.DATASET_INVALID,
                f"evaluation.fraction: {fraction:g} leaves no row of dataset.source {part.source} to learn; write a "
                "smaller fraction, or evaluation.source with rows of their own",
            )
