"""Reads what safetensors files hold from their headers, without loading a weight.

Format: 8 bytes of header length (little-endian), the header as JSON, the data
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import json
from pathlib import Path

HEADER_LIMIT = 100 * 2**20

Shapes = dict[str, tuple[int, ...]]


def read_shapes(file: Path) -> Shapes:
    """Shape of each tensor of one file.

    Raises:
        ValueError: the file is cut off or not safetensors.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise ValueError("not a safetensors file, or cut off")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != 8 + length + end:
        raise ValueError(f"{size} bytes instead of {8 + length + end}: the copy was cut off")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def read_folder_shapes(folder: Path) -> Shapes:
    """Shape of each weight of a model, whether in one file or in the files of an index.

    Raises:
        ValueError: a file is damaged or missing; the message begins with its name.
        PermissionError: a file is not readable.
    """
    shapes: Shapes = {}
    for file in weight_files(folder):
        try:
            shapes |= read_shapes(file)
        except FileNotFoundError as error:
            raise ValueError(f"{file.name}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
    return shapes


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's index, or all safetensors if it has none, by name."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    else:
        names = {file.name for file in folder.glob("*.safetensors")}
    return [folder / name for name in sorted(names)]
