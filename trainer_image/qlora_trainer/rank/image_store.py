"""Images on disk as their files have them, each once, and which of them a document has.

What a step needs is made of them when it comes: the pixels of an image take up to a hundred times the space of its
file. The copy lies beside the tokens, so that training reads neither the dataset's volume nor what has changed there
since.
"""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

_FILES, _INDEX = "images.bytes", "images.safetensors"


class ImageWriter:
    """Appends images to a file of a folder. Use it as a context manager: the index is written at its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream = (folder / _FILES).open("wb")
        self._numbers: dict[bytes, int] = {}
        self._offsets, self._members, self._begins = array("q", [0]), array("q"), array("q", [0])
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()
        arrays = {"offsets": self._offsets, "members": self._members, "begins": self._begins}
        save_file(
            {name: torch.from_numpy(np.array(values, np.int64)) for name, values in arrays.items()},
            self._folder / _INDEX,
        )

    def append(self, images: list[bytes]) -> None:
        """Adds the images of the next document."""
        for image in images:
            key = hashlib.sha256(image).digest()
            if key not in self._numbers:
                self._numbers[key] = len(self._numbers)
                self._stream.write(image)
                self._offsets.append(self._offsets[-1] + len(image))
            self._members.append(self._numbers[key])
            self._digest.update(key)
        self._begins.append(len(self._members))

    @property
    def digest(self) -> bytes:
        """Of all images, document after document."""
        return self._digest.digest()


class ImageFiles(NamedTuple):
    """The images of all documents, mapped into memory."""

    content: torch.Tensor
    """One file after another: uint8 of shape (bytes,)."""
    offsets: torch.Tensor
    """Where an image begins in `content`: int64 of shape (images + 1,)."""
    members: torch.Tensor
    """Images of all documents: int64."""
    begins: torch.Tensor
    """Where a document begins in `members`: int64 of shape (documents + 1,)."""

    def of(self, document: int) -> list[bytes]:
        """The files of a document's images."""
        members = self.members[int(self.begins[document]) : int(self.begins[document + 1])].tolist()
        return [self.content[int(self.offsets[i]) : int(self.offsets[i + 1])].numpy().tobytes() for i in members]


def map_images(folder: Path) -> ImageFiles | None:
    """What an ImageWriter has written; None if there was none."""
    if not (folder / _INDEX).exists():
        return None
    index = load_file(folder / _INDEX)
    size = int(index["offsets"][-1])
    file = str(folder / _FILES)
    content = torch.from_file(file, shared=False, size=size, dtype=torch.uint8) if size else torch.empty(0)
    return ImageFiles(content, **index)
