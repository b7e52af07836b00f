"""Single weights of a model, read from its safetensors as they are on disk."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError


class OriginalWeights:
    """The weights of a folder, by the names of the modules that they belong to."""

    def __init__(self, folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        self._files: dict[str, Path] = {}
        if index.exists():
            self._files = {name: folder / file for name, file in json.loads(index.read_bytes())["weight_map"].items()}
        else:
            for file in sorted(folder.glob("*.safetensors")):
                with safe_open(file, framework="pt") as tensors:
                    self._files |= dict.fromkeys(tensors.keys(), file)

    def read(self, module: str) -> torch.Tensor:
        """The weight of a module, on the CPU.

        Raises:
            TrainerError: no file has it under that name, or under its name without the first part.
        """
        for name in (f"{module}.weight", f"{module.partition('.')[2]}.weight"):
            if name in self._files:
                with safe_open(self._files[name], framework="pt") as tensors:
                    weight: torch.Tensor = tensors.get_tensor(name)
                return weight
        raise TrainerError(
            Reason.USER_ERROR,
            f"adapter.method: the model's files have no weight {module}.weight, from which the adapter would begin; "
            "write method: lora",
        )
