"""The tokenised dataset, mapped into memory by all ranks of a pod."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from qlora_trainer.fetch.families import Family
from qlora_trainer.files import read_json
from qlora_trainer.rank.image_store import ImageFiles, map_images
from qlora_trainer.rank.order import Mix
from qlora_trainer.rank.store import map_tokens

INDEX = "index.safetensors"
ABOUT = "about.json"


class Document(NamedTuple):
    """What attends to itself alone: a row of the dataset, or a piece of a long text."""

    ids: torch.Tensor
    """Token ids: int32 of shape (length,)."""
    learned: torch.Tensor
    """Whether a token is learned: bool of shape (length,). False for the first one, which nothing predicts."""


@dataclass(frozen=True)
class Images:
    """The images of documents, and what makes of them what the model reads."""

    files: ImageFiles
    processor: Any
    family: Family

    def inputs(self, documents: list[int], ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the model reads beside the token ids of some documents: int64 of shape (documents, length)."""
        from qlora_trainer.rank.processor import model_inputs

        files = [file for document in documents for file in self.files.of(document)]
        return model_inputs(self.processor, self.family, ids, files)

    def shown(self, ids: list[int]) -> str:
        """Tokens as text, without the many that stand for images."""
        places = set(self.processor.image_token_ids)
        text: str = self.processor.tokenizer.decode([token for token in ids if token not in places])
        return text


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
    """Digest of the source files, and of the images that they name."""
    images: Images | None = None
    """Of a model that sees."""

    def __len__(self) -> int:
        return len(self.targets)

    def sequence(self, number: int) -> list[Document]:
        """The documents of one sequence."""
        return [self.document(member) for member in self.documents(number)]

    def documents(self, number: int) -> list[int]:
        """The numbers of the documents of one sequence."""
        members: list[int] = self.members[int(self.begins[number]) : int(self.begins[number + 1])].tolist()
        return members

    def document(self, number: int) -> Document:
        """A document, counted from 0 in the order of the rows."""
        part = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return Document(self.ids[part], self.learned[part])


def load_dataset(folder: Path, reader: Any = None, family: Family | None = None) -> Dataset:
    """Maps what `make_dataset` has made.

    Args:
        folder: where it lies.
        reader: the processor of a model that sees, and
        family: its family; None for any other.
    """
    about = read_json(folder / ABOUT)
    assert about is not None, f"{folder} is complete or absent"
    ids, learned = map_tokens(folder)
    mix = Mix(tuple(about["sizes"]), tuple(about["weights"]))
    files = map_images(folder)
    images = Images(files, reader, family) if files is not None and family is not None else None
    return Dataset(
        ids, learned, **load_file(folder / INDEX), mix=mix, is_packed=about["isPacked"], sha256=about["sha256"],
        images=images,
    )  # fmt: skip


def wait_for_dataset(folder: Path, poll_seconds: float = 0.1) -> None:
    """Waits for the first rank of this pod. Not a barrier, which would time out on a large dataset."""
    while not folder.exists():
        time.sleep(poll_seconds)
