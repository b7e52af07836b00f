"""Makes the tokenised dataset: once in each pod, by its first rank."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from qlora_api.spec import QLoRAJobSpec, TrainingSpec
from qlora_trainer import log
from qlora_trainer.files import new_folder, write_json
from qlora_trainer.rank.data import ABOUT, INDEX
from qlora_trainer.rank.packing import Packing, one_a_sequence, pack
from qlora_trainer.rank.store import Figures, TokenWriter
from qlora_trainer.rank.tokenize_part import tokenize_part
from qlora_trainer.rows.formats import Shape
from qlora_trainer.rows.read import read_rows


def make_dataset(
    folder: Path, sources: list[list[Path]], spec: QLoRAJobSpec, tokenizer: Any, rows: int | None = None
) -> None:
    """Tokenises the files of each part of the dataset into `folder`, or only the first `rows` rows of each part.

    Raises:
        TrainerError: a row cannot be used, or a part has nothing to learn.
    """
    length = spec.training.sequence_length
    with new_folder(folder) as new:
        ends: list[int] = []
        with TokenWriter(new) as writer:
            for part, files in zip(spec.dataset.parts, sources, strict=True):
                shape = Shape.of(spec.dataset, part)
                tokenize_part(islice(read_rows(files, shape), rows), part.source, shape.loss, length, tokenizer, writer)
                ends.append(len(writer))
        index, sizes = arrange(writer.figures, ends, spec.training)
        save_file({name: torch.from_numpy(array) for name, array in index.items()}, new / INDEX)
        weights = [part.weight for part in spec.dataset.parts]
        about = {"isPacked": spec.training.packing, "sizes": sizes, "weights": weights, "sha256": _digest(sources)}
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


def _digest(sources: list[list[Path]]) -> str:
    digest = hashlib.sha256()
    for file in (file for files in sources for file in files):
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
