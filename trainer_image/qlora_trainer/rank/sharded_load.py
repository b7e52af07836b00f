"""Reads a base of 4 bits under ZeRO-3 so that a rank never holds more than its share and one weight.

Weight by weight, in the order of the safetensors files: read, cast, quantised on the device as transformers and
bitsandbytes do it, and shared out at once. What stays whole are the constants of the quantisation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from deepspeed import comm
from safetensors import safe_open
from transformers import BitsAndBytesConfig

from qlora_api.shares import is_shared_out, why_whole
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.deepspeed_config import zero_options
from qlora_trainer.fetch.weights import read_folder_shapes, weight_files
from qlora_trainer.rank.blueprint import Blueprint, difference
from qlora_trainer.rank.stage3 import Sharing


def load_shares(
    folder: Path, spec: QLoRAJobSpec, quantization: BitsAndBytesConfig | None, device: torch.device
) -> Any | None:
    """The base with this rank's share of each weight. Collective.

    Args:
        folder: of the base.
        spec: the job's.
        quantization: how it is quantised.
        device: of this rank.

    Returns:
        None, if the base is not to be shared out, or has to be read whole; why is in the log.
    """
    if quantization is None or not is_shared_out(spec) or not comm.is_initialized():
        return None
    because = why_whole(spec)
    if because is None:
        blueprint = Blueprint(folder, quantization, getattr(torch, spec.compute_dtype), device)
        because = blueprint.why_not_one_by_one() or difference(blueprint.shapes, read_folder_shapes(folder))
    if because is not None:
        log.event("base_read_whole", message=because)
        return None
    # DeepSpeed wants to know a batch; sharing out does not depend on it.
    share = Sharing({"train_micro_batch_size_per_gpu": 1, "zero_optimization": zero_options(spec)})
    for file in weight_files(folder):
        for name in _names(file):
            place, _, key = name.rpartition(".")
            module = blueprint.model.get_submodule(place)
            parameter = _parameter(module, key, _read(file, name, getattr(torch, spec.compute_dtype), device))
            setattr(module, key, parameter)
            share(parameter)
    return blueprint.finish()


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as tensors:
        return sorted(tensors.keys())


def _read(file: Path, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """One weight on the device; a number of floating point is cast."""
    with safe_open(file, framework="pt") as tensors:  # opened each time: a mapped file counts as memory
        tensor: torch.Tensor = tensors.get_tensor(name)
    return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)


def _parameter(module: Any, key: str, tensor: torch.Tensor) -> torch.nn.Parameter:
    """What the module holds of it: frozen, quantised if the module is, by transformers' `Bnb4bitQuantize`."""
    if isinstance(module, Linear4bit) and key == "weight":
        quantised: torch.nn.Parameter = Params4bit(tensor, **{**module.weight.__dict__, "requires_grad": False}).to(
            tensor.device
        )
        return quantised
    return torch.nn.Parameter(tensor, requires_grad=False)
