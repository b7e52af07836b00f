"""Merges an adapter into its base: the same files as the base's, in bfloat16, written tensor by tensor.

The base is read as it was before it was quantised, one weight at a time. Memory holds the adapter and that weight.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import safe_open

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.weights import weight_files
from qlora_trainer.files import new_folder, read_json, write_json, write_text
from qlora_trainer.rank.skeleton import Skeleton
from qlora_trainer.rank.tensors import Layout, write_tensors

INDEX = "model.safetensors.index.json"
BESIDE = ("*.json", "*.model", "*.txt", "*.jinja")
"""What lies beside the weights: configuration, tokenizer, generation."""


def merge_adapter(base: Path, adapter: Path, target: Path, texts: Mapping[str, str] = MappingProxyType({})) -> None:
    """Writes a model that plain transformers loads; the folder appears by one rename.

    Args:
        base: folder of the base model.
        adapter: folder of an adapter that changes the base's weights.
        target: folder of the merged model.
        texts: more files of that folder, by name.

    Raises:
        TrainerError: UserError, if the base's files do not have a weight that the adapter changes.
    """
    skeleton = Skeleton(base, adapter)
    with new_folder(target) as folder:
        left = skeleton.changed
        size = 0
        for file in weight_files(base):
            layouts, places = _layouts(file, skeleton)
            left -= set(places.values())
            size += sum(layout.size for layout in layouts.values())
            write_tensors(folder / file.name, layouts, _Reader(file, places, layouts, skeleton))
        if left:
            raise TrainerError(
                Reason.USER_ERROR,
                f"output.merge: the model's files have no weight {min(left)}, which the adapter changes; write "
                "merge: false",
            )
        _copy_the_rest(base, adapter, folder, size)
        for name, text in texts.items():
            write_text(folder / name, text)


class _Reader:
    """Brings the tensors of one file, merged."""

    def __init__(self, file: Path, places: dict[str, str], layouts: dict[str, Layout], skeleton: Skeleton) -> None:
        self._file, self._places, self._layouts, self._skeleton = file, places, layouts, skeleton

    def __call__(self, name: str) -> torch.Tensor:
        with safe_open(self._file, framework="pt") as tensors:  # opened each time: a mapped file counts as memory
            tensor: torch.Tensor = tensors.get_tensor(name)
        if name in self._places:
            tensor = self._skeleton.merged(self._places[name], tensor)
        return tensor.to(self._layouts[name].dtype)


def _layouts(file: Path, skeleton: Skeleton) -> tuple[dict[str, Layout], dict[str, str]]:
    """What the merged file holds, and which of its names the adapter changes, by the model's name for them."""
    layouts, places = {}, {}
    with safe_open(file, framework="pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - no mapping
            part = tensors.get_slice(name)
            is_number = part.get_dtype() in ("F64", "F32", "F16", "BF16")
            dtype = torch.bfloat16 if is_number else tensors.get_tensor(name).dtype
            layouts[name] = Layout(tuple(part.get_shape()), dtype)
            place = next((place for place in skeleton.changed if name in (place, place.partition(".")[2])), None)
            if place is not None:
                places[name] = place
    return layouts, places


def _copy_the_rest(base: Path, adapter: Path, folder: Path, size: int) -> None:
    for pattern in BESIDE:
        for file in base.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    if (adapter / "chat_template.jinja").exists():
        shutil.copyfile(adapter / "chat_template.jinja", folder / "chat_template.jinja")
    config = read_json(folder / "config.json") or {}
    config.pop("torch_dtype", None)  # the name that older versions of transformers give it
    write_json(folder / "config.json", {**config, "dtype": "bfloat16"})
    index = folder / INDEX
    if index.exists():
        content = json.loads(index.read_bytes())
        write_json(index, {**content, "metadata": {**content.get("metadata", {}), "total_size": size}})
