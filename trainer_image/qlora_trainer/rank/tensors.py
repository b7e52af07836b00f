"""Writes a safetensors file tensor by tensor, so that no more than one of them is in memory.

The library's own `save_file` wants all of them at once. Format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Layout(NamedTuple):
    """What is known of a tensor before it is there."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_tensors(file: Path, layouts: Mapping[str, Layout], read: Callable[[str], torch.Tensor]) -> None:
    """Writes a file.

    Args:
        file: where to.
        layouts: what the file will hold, in this order.
        read: brings the tensor of a name, on the CPU, in its layout.

    Raises:
        KeyError: safetensors has no name for a data type.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, layout in layouts.items():
        begin, end = end, end + layout.size
        header[name] = {"dtype": _NAMES[layout.dtype], "shape": layout.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, layout in layouts.items():
            tensor = read(name)
            assert (tuple(tensor.shape), tensor.dtype) == layout, f"{name} is not what was announced"
            stream.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
