"""Images of rows: where they lie, and whether they are images at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

_SHOWN = 60
"""Letters of a path that a message repeats."""


@dataclass(frozen=True)
class Picture:
    """An image of a row."""

    name: str
    """As the row writes it; empty if the row holds the image itself."""
    content: Path | bytes
    """The file, or what would be in it."""

    def read(self) -> bytes:
        """The content of the file.

        Raises:
            OSError: it cannot be read.
        """
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @property
    def identity(self) -> str:
        """The same wherever the dataset lies."""
        return self.name or hashlib.sha256(self.read()).hexdigest()


def find_picture(value: Any, folder: Path) -> Picture | str:
    """The image that a value of a row stands for, or what is wrong with it.

    Args:
        value: a path from the folder, or what datasets writes: {bytes, path}.
        folder: of the row's file.
    """
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), bytes):
            picture = Picture("", value["bytes"])
            return _fault(picture, "the image within the row") or picture
        value = value.get("path")
    if not isinstance(value, str) or not value:
        return "is no image; write its path from the folder of this file"
    shown = repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
    if "://" in value or value.startswith("data:"):
        return f"{shown} is an address, and nothing is fetched from there; write the path of a file beside this one"
    file = (folder / value).resolve()
    if not file.is_relative_to(folder.resolve()):
        return f"{shown} lies outside the folder of this file; write a path below it"
    if not file.is_file():
        return f"{shown} does not exist below the folder of this file; write the path from there"
    picture = Picture(value, file)
    return _fault(picture, shown) or picture


def _fault(picture: Picture, shown: str) -> str:
    """Reads what an image begins with."""
    from PIL import Image, UnidentifiedImageError

    source = BytesIO(picture.content) if isinstance(picture.content, bytes) else picture.content
    try:
        with Image.open(source):
            return ""
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        what = "is not an image" if isinstance(error, UnidentifiedImageError) else "has too many pixels"
        return f"{shown} {what}; write one that Pillow opens, such as PNG or JPEG"
    except OSError as error:
        return f"{shown} cannot be read ({error}); make it readable for this user"


def decode(data: bytes) -> Any:
    """The image, upright and in red, green and blue: PIL.Image.Image.

    Raises:
        OSError: it is cut off, or damaged.
    """
    from PIL import Image, ImageOps

    with Image.open(BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
