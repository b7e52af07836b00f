"""The tokenised dataset: made once by the first rank of a pod, mapped into memory by all of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec, TrainingSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.files import new_folder, read_json, write_json
from qlora_trainer.rank.packing import Packing, one_a_sequence, pack
from qlora_trainer.rank.tokenize import tokenize_row
from qlora_trainer.rows import learns_everything, read_rows

_TENSORS = "tokens.safetensors"
_ABOUT = "about.json"


class Document(NamedTuple):
    """What attends to itself alone: a row of the dataset."""

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


def make_dataset(folder: Path, files: list[Path], spec: QLoRAJobSpec, tokenizer: Any) -> None:
    """Tokenises the dataset into `folder`. Rows that have nothing to learn within `sequenceLength` are left out.

    Raises:
        TrainerError: no row is left.
    """
    ids: list[np.ndarray] = []
    learned: list[np.ndarray] = []
    everything = learns_everything(spec.dataset)
    dropped = cut = 0
    length = spec.training.sequence_length
    for row in read_rows(files, spec.dataset):
        whole = tokenize_row(row, tokenizer, spec.dataset.format, everything)
        sequence = whole.cut(length)
        if not sequence.targets:
            dropped += 1
            continue
        cut += len(whole.ids) > length
        ids.append(np.asarray(sequence.ids, np.int32))
        learned.append(np.asarray([False, *sequence.learned[1:]], np.bool_))
    log.event("tokenized", rows=len(ids), tokens=sum(map(len, ids)), cut=cut, dropped=dropped)
    if not ids:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"dataset.source {spec.dataset.source}: in all {dropped} rows, nothing to learn is left within "
            f"training.sequenceLength: {length}; write a larger sequenceLength, or shorten the prompts",
        )
    with new_folder(folder) as new:
        lengths = np.array([len(document) for document in ids], np.int64)
        targets = np.array([int(document.sum()) for document in learned], np.int64)
        packing = arrange(lengths, spec.training)
        tensors = {
            "ids": np.concatenate(ids),
            "learned": np.concatenate(learned),
            "offsets": np.concatenate([[0], np.cumsum(lengths)]),
            "members": packing.members,
            "begins": packing.begins,
            "targets": packing.sums(targets),
            "lengths": packing.sums(lengths),
        }
        save_file({name: torch.from_numpy(array) for name, array in tensors.items()}, new / _TENSORS)
        about = {"isPacked": spec.training.packing, "rows": len(ids), "dropped": dropped, "cut": cut}
        write_json(new / _ABOUT, {"sha256": _digest(files), **about})


def arrange(lengths: np.ndarray, training: TrainingSpec) -> Packing:
    """The documents as sequences, packed if the job wants it."""
    if not training.packing:
        return one_a_sequence(len(lengths))
    packing = pack(lengths, training.sequence_length, training.seed)
    sequences = len(packing.begins) - 1
    fill = float(lengths.sum()) / (sequences * training.sequence_length)
    log.event("packed", documents=len(lengths), sequences=sequences, fill=round(fill, 4))
    return packing


def load_dataset(folder: Path) -> Dataset:
    """Maps what `make_dataset` has made."""
    about = read_json(folder / _ABOUT)
    assert about is not None, f"{folder} is complete or absent"
    return Dataset(**load_file(folder / _TENSORS), is_packed=about["isPacked"], sha256=about["sha256"])


def wait_for_dataset(folder: Path, poll_seconds: float = 0.1) -> None:
    """Waits for the first rank of this pod. Not a barrier, which would time out on a large dataset."""
    while not folder.exists():
        time.sleep(poll_seconds)


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
