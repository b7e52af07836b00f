"""Whether the modules named in `adapter.targets` exist.

The names in the safetensors headers settle it within milliseconds for nearly every model. Only a target that is
not among them is looked up in the model itself, built without memory on the meta device, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import family_of
from qlora_trainer.fetch.weights import read_folder_shapes

ALL_LINEAR = "all-linear"


def check_targets(targets: str, model: Path) -> None:
    """Checks `adapter.targets` against the model.

    Raises:
        TrainerError: UserError, with the unknown target and the names that the model has.
    """
    if targets == ALL_LINEAR:
        return
    wanted = targets.split(",")
    weights = (name.removesuffix(".weight") for name, shape in read_folder_shapes(model).items() if len(shape) == 2)
    if not unknown_targets(wanted, weights):
        return
    modules = linear_modules(model)
    unknown = unknown_targets(wanted, modules)
    if unknown:
        suffixes = ", ".join(sorted({name.rpartition(".")[2] for name in modules}))
        raise TrainerError(
            Reason.USER_ERROR,
            f"adapter.targets: the model has no linear module {unknown[0]!r}; "
            f"write {ALL_LINEAR}, or some of {suffixes}",
        )


def unknown_targets(targets: Iterable[str], modules: Iterable[str]) -> list[str]:
    """The targets that are neither a module's name nor the end of one, as PEFT matches them."""
    names = list(modules)
    return [target for target in targets if not any(name == target or name.endswith(f".{target}") for name in names)]


def linear_modules(model: Path) -> list[str]:
    """Names of the model's linear modules, without the output layer.

    Raises:
        TrainerError: ModelInvalid, if transformers cannot build the architecture.
    """
    import torch

    built = build_without_weights(model)
    head = built.get_output_embeddings()
    return [
        name for name, module in built.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]


def build_without_weights(model: Path) -> Any:
    """The model on the meta device.

    Raises:
        TrainerError: ModelInvalid, if transformers cannot build the architecture.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    auto = AutoModelForCausalLM if family_of(model) is None else AutoModelForImageTextToText
    try:
        with torch.device("meta"):
            return auto.from_config(AutoConfig.from_pretrained(model))
    except (ValueError, KeyError) as error:
        raise TrainerError(
            Reason.MODEL_INVALID, f"model.source: config.json: {error}; write a causal language model of transformers"
        ) from error
