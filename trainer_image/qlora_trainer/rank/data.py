"""The tokenised dataset: made once by the first rank of a pod, mapped into memory by all of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qlora_api.spec import QLoRAJobSpec, TrainingSpec
from qlora_trainer import log
from qlora_trainer.files import new_folder, read_json, write_json
from qlora_trainer.rank.order import Mix
from qlora_trainer.rank.packing import Packing, one_a_sequence, pack
from qlora_trainer.rank.store import Figures, TokenWriter, map_tokens
from qlora_trainer.rank.tokenize_part import tokenize_part
from qlora_trainer.rows.formats import Shape
from qlora_trainer.rows.read import read_rows

_INDEX = "index.safetensors"
_ABOUT = "about.json"


class Document(NamedTuple):
    """What attends to itself alone: a row of the dataset, or a piece of a long text."""

    ids: torch.Tensor
    """Token ids: int32 of shape (length,)."""
    learned: torch.Tensor
    """Whether a token is learned: bool of shape (length,). False for the first one, which nothing predicts."""


@dataclass(frozen=True)
class Dataset:
    """Sequences of one document each or, if packed, of as many as fit."""

    ids: torch.Tensor
    """Token ids of all documents: int32 of shape (tokens,)."""
    learned: torch.Tensor
    """Whether a token is learned: bool of shape (tokens,)."""
    offsets: torch.Tensor
    """Where a document begins: int64 of shape (documents + 1,)."""
    members: torch.Tensor
    """Documents of all sequences: int64 of shape (documents,)."""
    begins: torch.Tensor
    """Where a sequence begins in `members`: int64 of shape (sequences + 1,)."""
    targets: torch.Tensor
    """Learned tokens of a sequence: int64 of shape (sequences,), each at least 1."""
    lengths: torch.Tensor
    """Tokens of a sequence: int64 of shape (sequences,)."""
    mix: Mix
    """Which part of the dataset a sequence belongs to, and how often it is seen."""
    is_packed: bool
    """Whether a sequence may hold several documents."""
    sha256: str
    """Digest of the source files."""

    def __len__(self) -> int:
        return len(self.targets)

    def sequence(self, number: int) -> list[Document]:
        """The documents of one sequence."""
        members = self.members[int(self.begins[number]) : int(self.begins[number + 1])]
        return [self._document(int(member)) for member in members]

    def _document(self, number: int) -> Document:
        part = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return Document(self.ids[part], self.learned[part])


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
        save_file({name: torch.from_numpy(array) for name, array in index.items()}, new / _INDEX)
        weights = [part.weight for part in spec.dataset.parts]
        about = {"isPacked": spec.training.packing, "sizes": sizes, "weights": weights, "sha256": _digest(sources)}
        write_json(new / _ABOUT, about)


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


def load_dataset(folder: Path) -> Dataset:
    """Maps what `make_dataset` has made."""
    about = read_json(folder / _ABOUT)
    assert about is not None, f"{folder} is complete or absent"
    ids, learned = map_tokens(folder)
    mix = Mix(tuple(about["sizes"]), tuple(about["weights"]))
    return Dataset(
        ids, learned, **load_file(folder / _INDEX), mix=mix, is_packed=about["isPacked"], sha256=about["sha256"]
    )


def wait_for_dataset(folder: Path, poll_seconds: float = 0.1) -> None:
    """Waits for the first rank of this pod. Not a barrier, which would time out on a large dataset."""
    while not folder.exists():
        time.sleep(poll_seconds)


def _digest(sources: list[list[Path]]) -> str:
    digest = hashlib.sha256()
    for file in (file for files in sources for file in files):
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
