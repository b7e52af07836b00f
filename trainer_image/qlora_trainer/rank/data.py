"""The tokenised dataset: made once by the first rank of a pod, mapped into memory by all of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.files import new_folder, read_json, write_json
from qlora_trainer.rank.tokenize import tokenize_row
from qlora_trainer.rows import learns_everything, read_rows

_TENSORS = "tokens.safetensors"
_ABOUT = "about.json"


@dataclass(frozen=True)
class Dataset:
    """Rows of tokens, one after another."""

    ids: torch.Tensor
    """Token ids of all rows: int32 of shape (tokens,)."""
    learned: torch.Tensor
    """Whether a token is learned: bool of shape (tokens,). False for the first token of a row."""
    offsets: torch.Tensor
    """Where a row begins: int64 of shape (rows + 1,)."""
    targets: torch.Tensor
    """Learned tokens of a row: int64 of shape (rows,), each at least 1."""
    sha256: str
    """Digest of the source files."""

    def __len__(self) -> int:
        return len(self.targets)

    def row(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and learned marks of one row, both of shape (length,)."""
        part = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return self.ids[part], self.learned[part]


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
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
        tensors = {
            "ids": torch.from_numpy(np.concatenate(ids)),
            "learned": torch.from_numpy(np.concatenate(learned)),
            "offsets": torch.from_numpy(offsets.astype(np.int64)),
            "targets": torch.tensor([int(row.sum()) for row in learned], dtype=torch.int64),
        }
        save_file(tensors, new / _TENSORS)
        write_json(new / _ABOUT, {"sha256": _digest(files), "rows": len(ids), "dropped": dropped, "cut": cut})


def load_dataset(folder: Path) -> Dataset:
    """Maps what `make_dataset` has made."""
    about = read_json(folder / _ABOUT)
    assert about is not None, f"{folder} is complete or absent"
    return Dataset(**load_file(folder / _TENSORS), sha256=about["sha256"])


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
