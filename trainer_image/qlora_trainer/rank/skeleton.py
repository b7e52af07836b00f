"""A model with its adapter, in which the base's weights take no memory: each comes when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM


class Skeleton:
    """The adapter of a folder on a base of which only the shapes are known.

    Args:
        base: folder of the base model.
        adapter: folder of the adapter.
    """

    def __init__(self, base: Path, adapter: Path) -> None:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base), dtype=torch.float32)
        whole = PeftConfig.from_pretrained(adapter).modules_to_save or []
        for name, module in model.named_modules():
            is_whole = any(f".{name}".endswith(f".{ending}") for ending in whole)
            for key, parameter in list(module.named_parameters(recurse=False)):
                values = torch.zeros(parameter.shape) if is_whole else no_memory(parameter.shape)
                setattr(module, key, nn.Parameter(values, requires_grad=False))
        self._model = PeftModel.from_pretrained(model, adapter)
        self._changed = dict(self._find())

    @property
    def changed(self) -> set[str]:
        """Names of the base's weights that the adapter changes."""
        return set(self._changed)

    @torch.no_grad()
    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """A weight with what the adapter adds to it, by PEFT's own arithmetic: float32, of the same shape."""
        module = self._changed[name]
        if isinstance(module, ModulesToSaveWrapper):
            saved: torch.Tensor = module.modules_to_save["default"].get_parameter(name.rpartition(".")[2]).data
            return saved
        layer = module.get_base_layer()
        layer.weight = nn.Parameter(weight.float(), requires_grad=False)
        module.merge()
        result: torch.Tensor = layer.weight.data
        layer.weight = nn.Parameter(no_memory(weight.shape), requires_grad=False)
        module.merged_adapters.clear()
        return result

    def _find(self) -> Iterator[tuple[str, Any]]:
        for name, module in self._model.base_model.model.named_modules():
            if isinstance(module, ModulesToSaveWrapper):
                for key, _ in module.modules_to_save["default"].named_parameters():
                    yield f"{name}.{key}", module
            elif isinstance(module, AuxiliaryTrainingWrapper):
                yield f"{name}.weight", module.token_adapter
            elif isinstance(module, BaseTunerLayer) and not name.endswith(".token_adapter"):
                yield f"{name}.weight", module


def no_memory(shape: torch.Size) -> torch.Tensor:
    """Zeros of a shape that share one element."""
    return torch.zeros(1).expand(shape)
