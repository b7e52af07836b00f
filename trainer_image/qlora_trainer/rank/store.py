"""Token ids on disk: written row after row, mapped into memory for reading, so no process ever holds them all."""

from __future__ import annotations

from array import array
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import numpy as np
import torch

from qlora_trainer.rank.image_store import ImageWriter

_IDS, _LEARNED = "ids.int32", "learned.bool"


class Figures(NamedTuple):
    """What is known of each document."""

    lengths: np.ndarray
    """Tokens: int64 of shape (documents,)."""
    targets: np.ndarray
    """Learned tokens: int64 of shape (documents,)."""


class TokenWriter:
    """Appends documents to the files of a folder. Use it as a context manager.

    Args:
        folder: where the files are made.
        images: of a model that sees: takes the images of each document.
    """

    def __init__(self, folder: Path, images: ImageWriter | None = None) -> None:
        self._images = images
        self._ids: BinaryIO = (folder / _IDS).open("wb")
        self._learned: BinaryIO = (folder / _LEARNED).open("wb")
        self._lengths, self._targets = array("q"), array("q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ids.close()
        self._learned.close()

    def __len__(self) -> int:
        return len(self._lengths)

    def append(self, ids: list[int], learned: list[bool], images: list[bytes] | None = None) -> None:
        """Adds a document, and its images. Its first token is never learned: nothing comes before it."""
        marks = np.array(learned, np.bool_)
        marks[0] = False
        self._ids.write(np.array(ids, np.int32).tobytes())
        self._learned.write(marks.tobytes())
        self._lengths.append(len(ids))
        self._targets.append(int(marks.sum()))
        if self._images is not None:
            self._images.append(images or [])

    @property
    def figures(self) -> Figures:
        """Of all documents so far."""
        return Figures(np.array(self._lengths, np.int64), np.array(self._targets, np.int64))


def map_tokens(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and learned marks of all documents: int32 and bool of shape (tokens,), read when they are used."""
    tokens = (folder / _LEARNED).stat().st_size
    return (
        torch.from_file(str(folder / _IDS), shared=False, size=tokens, dtype=torch.int32),
        torch.from_file(str(folder / _LEARNED), shared=False, size=tokens, dtype=torch.bool),
    )
