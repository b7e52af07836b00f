"""A model as transformers would load it, in which every weight is still to come: shapes only, on meta."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.quantizers import AutoHfQuantizer

Shapes = Mapping[str, tuple[int, ...]]


class Blueprint:
    """Layers of 4 bits in place of linear ones, and buffers with their values.

    It follows `PreTrainedModel.from_pretrained` up to where that reads weights, and again after that.
    """

    def __init__(
        self, folder: Path, quantization: BitsAndBytesConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Builds it.

        Args:
            folder: of the base.
            quantization: of 4 bits.
            dtype: of what is not quantised.
            device: of buffers.

        Raises:
            ValueError: transformers knows no causal language model of this kind.
        """
        self._folder, self._dtype = folder, dtype
        self.config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._is_quantised_already = hasattr(self.config, "quantization_config")
        self.config._attn_implementation = "sdpa"
        self.config.dtype = dtype
        self.config.name_or_path = str(folder)
        places = {"": device}
        self._quantizer = AutoHfQuantizer.from_config(quantization, pre_quantized=False)
        self._quantizer.validate_environment(device_map=places)
        if type(self.config) not in AutoModelForCausalLM._model_mapping:
            raise ValueError(f"{self.config.model_type} is no causal language model")
        kind = AutoModelForCausalLM._model_mapping[type(self.config)]
        with ExitStack() as contexts:
            for context in kind.get_init_context(dtype, True, False, False):
                contexts.enter_context(context)
            self.model = kind(self.config)
            self._quantizer.preprocess_model(model=self.model, dtype=dtype, device_map=places)
        self.model._move_missing_keys_from_meta_to_device(set(), places, None, self._quantizer)
        self.model.initialize_weights()

    @property
    def shapes(self) -> Shapes:
        """Of the weights that are to come, by name; a weight that is another one too is left out."""
        tied = self.model.all_tied_weights_keys
        found = {name: tuple(weight.shape) for name, weight in self.model.named_parameters(remove_duplicate=False)}
        return {name: shape for name, shape in found.items() if name not in tied}

    def why_not_one_by_one(self) -> str | None:
        """What transformers does to weights besides quantising them; None if nothing."""
        if self._is_quantised_already:
            return "its weights are quantised in the files"
        if get_model_conversion_mapping(self.model, add_legacy=False):
            return "transformers makes its weights from several of the files'"
        if self.model._get_dtype_plan(self._dtype):
            return "transformers keeps some of its weights in float32"
        kinds = {getattr(module, "source_cls", torch.nn.Linear) for module in self.model.modules()}
        if kinds != {torch.nn.Linear}:
            return "its weights are turned round"
        transient = {name for name, _ in self.model.named_non_persistent_buffers()}
        if any(name not in transient for name, _ in self.model.named_buffers()):
            return "its files hold more than weights"
        return None

    def finish(self) -> Any:
        """The model, when all weights have come."""
        model = self.model
        model.tie_weights(recompute_mapping=False)
        model.eval()
        if (self._folder / "generation_config.json").exists():
            model.generation_config = GenerationConfig.from_pretrained(self._folder, local_files_only=True)
        model.hf_quantizer = self._quantizer
        self._quantizer.postprocess_model(model)
        return model


def difference(wanted: Shapes, found: Shapes) -> str | None:
    """Why files do not hold a model's weights one to one; None if they do.

    Args:
        wanted: the model's.
        found: the files'.
    """
    if missing := wanted.keys() - found.keys():
        return f"the files have no {min(missing)}"
    if unknown := found.keys() - wanted.keys():
        return f"the model has no {min(unknown)}"
    for name, shape in wanted.items():
        if found[name] != shape:
            return f"{name} is {_text(found[name])} in the files and {_text(shape)} in the model"
    return None


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
