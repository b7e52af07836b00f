"""Makes the tokenised datasets, learned and held out: once in each pod, by its first rank."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from qlora_api.reasons import Reason
from qlora_api.spec import DatasetPart, QLoRAJobSpec, TrainingSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.files import new_folder, write_json
from qlora_trainer.rank.data import ABOUT, INDEX
from qlora_trainer.rank.image_store import ImageWriter
from qlora_trainer.rank.packing import Packing, one_a_sequence, pack
from qlora_trainer.rank.store import Figures, TokenWriter
from qlora_trainer.rank.tokenize_part import tokenize_part
from qlora_trainer.rank.tokenizer import is_processor
from qlora_trainer.rows.content import Row
from qlora_trainer.rows.formats import Shape
from qlora_trainer.rows.held_out import is_held_out
from qlora_trainer.rows.read import read_rows


def make_dataset(
    folder: Path, sources: list[list[Path]], spec: QLoRAJobSpec, tokenizer: Any, rows: int | None = None
) -> None:
    """Tokenises the files of each part of the dataset into `folder`, or only the first `rows` rows of each part.

    Raises:
        TrainerError: a row cannot be used, or a part has nothing to learn.
    """
    with new_folder(folder) as new:
        ends: list[int] = []
        with _writers(new, tokenizer) as (writer, images):
            for part, files in zip(spec.dataset.parts, sources, strict=True):
                begin = len(writer)
                wanted = islice(_rows(files, part, spec, held_out=False, sees=images is not None), rows)
                dropped = _tokenize(wanted, part, spec, tokenizer, writer)
                if len(writer) == begin:
                    raise _nothing_to_learn(f"dataset.source {part.source}", dropped)
                ends.append(len(writer))
        weights = [part.weight for part in spec.dataset.parts]
        _finish(new, writer.figures, ends, spec.training, weights, _digest(sources, images))


def make_held_out(folder: Path, sources: list[list[Path]], spec: QLoRAJobSpec, tokenizer: Any) -> None:
    """Tokenises the rows of `spec.evaluation` into `folder`, as one part.

    Args:
        folder: where the tokens go.
        sources: the files of `evaluation.source`, or without one those of each part of the dataset.
        spec: with an evaluation.
        tokenizer: of the model.

    Raises:
        TrainerError: a row cannot be used, or there is nothing to learn in any of them.
    """
    assert spec.evaluation is not None, "called only for a job that evaluates"
    own = spec.evaluation.part(spec.dataset)
    with new_folder(folder) as new:
        with _writers(new, tokenizer) as (writer, images):
            sees = images is not None
            dropped = sum(
                _tokenize(_rows(files, part, spec, held_out=own is None, sees=sees), part, spec, tokenizer, writer)
                for part, files in zip([own] if own else spec.dataset.parts, sources, strict=True)
            )
        if not len(writer):
            raise _nothing_to_learn(f"evaluation.source {own.source}" if own else "evaluation.fraction", dropped)
        _finish(new, writer.figures, [len(writer)], spec.training, [1.0], _digest(sources, images))


@contextmanager
def _writers(folder: Path, tokenizer: Any) -> Iterator[tuple[TokenWriter, ImageWriter | None]]:
    """What takes the documents, and for a model that sees what takes their images."""
    if not is_processor(tokenizer):
        with TokenWriter(folder) as writer:
            yield writer, None
        return
    with ImageWriter(folder) as images, TokenWriter(folder, images) as writer:
        yield writer, images


def _rows(files: list[Path], part: DatasetPart, spec: QLoRAJobSpec, held_out: bool, sees: bool) -> Iterator[Row]:
    """The rows of a part on one side of the split, if there is one."""
    rows = read_rows(files, Shape.of(spec.dataset, part, has_images=sees))
    fraction = spec.evaluation.fraction if spec.evaluation is not None else None
    if fraction is None:
        return rows
    return (row for row in rows if is_held_out(row.content, fraction, spec.training.seed) == held_out)


def _tokenize(rows: Iterator[Row], part: DatasetPart, spec: QLoRAJobSpec, tokenizer: Any, writer: TokenWriter) -> int:
    """Returns how many rows had nothing to learn."""
    length = spec.training.sequence_length
    return tokenize_part(rows, part.source, spec.dataset.loss_of(part), length, tokenizer, writer)


def _nothing_to_learn(field: str, rows: int) -> TrainerError:
    return TrainerError(
        Reason.DATASET_INVALID,
        f"{field}: in all {rows} rows there is nothing to learn; write rows with answers that are not empty, or "
        "dataset.loss: all",
    )


def _finish(
    new: Path, figures: Figures, ends: list[int], training: TrainingSpec, weights: list[float], sha256: str
) -> None:  # fmt: skip
    """Writes what is known of the documents beside their tokens."""
    index, sizes = arrange(figures, ends, training)
    save_file({name: torch.from_numpy(array) for name, array in index.items()}, new / INDEX)
    about = {"isPacked": training.packing, "sizes": sizes, "weights": weights, "sha256": sha256}
    write_json(new / ABOUT, about)


def arrange(figures: Figures, ends: list[int], training: TrainingSpec) -> tuple[dict[str, np.ndarray], list[int]]:
    """The documents as sequences, packed if the job wants it; documents of two parts never share one.

    Args:
        figures: of all documents, one part after another.
        ends: where each part ends.
        training: whether to pack, and how long a sequence is.

    Returns:
        The tensors of the dataset by name, and the number of sequences of each part.
    """
    members, counts, sizes, begin = [], [], [], 0
    for end in ends:
        packing = _packing(figures.lengths[begin:end], training)
        members.append(begin + packing.members)
        counts.append(np.diff(packing.begins))
        sizes.append(len(counts[-1]))
        begin = end
    whole = Packing(np.concatenate(members), np.concatenate([[0], np.cumsum(np.concatenate(counts))]))
    tensors = {
        "offsets": np.concatenate([[0], np.cumsum(figures.lengths)]),
        "members": whole.members,
        "begins": whole.begins,
        "targets": whole.sums(figures.targets),
        "lengths": whole.sums(figures.lengths),
    }
    if training.packing:
        fill = float(figures.lengths.sum()) / (sum(sizes) * training.sequence_length)
        log.event("packed", documents=len(figures.lengths), sequences=sum(sizes), fill=round(fill, 4))
    return tensors, sizes


def _packing(lengths: np.ndarray, training: TrainingSpec) -> Packing:
    if not training.packing:
        return one_a_sequence(len(lengths))
    return pack(lengths, training.sequence_length, training.seed)


def _digest(sources: list[list[Path]], images: ImageWriter | None) -> str:
    """Of the files, and of the images that their rows name."""
    digest = hashlib.sha256()
    for file in (file for files in sources for file in files):
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    if images is not None:
        digest.update(images.digest)
    return digest.hexdigest()
