"""Keeps what an adapter hands on in the data type and at the positions that the base expects.

What is trained is float32 and the base bfloat16. Most of PEFT's layers cast what they take and return; IA3's on a
quantised base, AdaLoRA's on 8 bits and modules that are trained whole do not, and then the next layer of the base
fails. DeepSpeed switches autocasting off, which would hide that elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.ia3 import IA3Layer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper


def keep_dtypes(model: Any) -> None:
    """Makes what is trained float32, and what is returned the data type that the base has."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.register_forward_pre_hook(_to_float32)
        if isinstance(module, AuxiliaryTrainingWrapper):
            module.register_forward_hook(_to_original_type)
        elif isinstance(module, IA3Layer | AdaLoraLayer):
            module.register_forward_hook(_to_type_of_input)


def _to_float32(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_cast(value, torch.float32) for value in inputs)


def _to_original_type(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    """The type of the module that the wrapper stands for; an embedding's input says nothing."""
    return _cast(output, next(module.original_module.parameters()).dtype)


def _to_type_of_input(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    if inputs and isinstance(inputs[0], torch.Tensor):
        return _cast(output, inputs[0].dtype)
    return output


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and dtype.is_floating_point:
        return value.to(dtype)
    return value


def shift_kept_positions(model: Any) -> None:
    """Counts `logits_to_keep` from the text's first token, where prompt tuning and P-tuning put vectors before it."""
    config = model.peft_config["default"]
    if not config.is_prompt_learning or config.peft_type == "PREFIX_TUNING":
        return

    def shift(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        kept = named.get("logits_to_keep")
        if isinstance(kept, torch.Tensor):
            named = {**named, "logits_to_keep": kept + config.num_virtual_tokens}
        return arguments, named

    model.register_forward_pre_hook(shift, with_kwargs=True)
