"""Vision-language models that can be trained, and what else a config.json can describe that cannot.

Which modules are the language model, the projector and the vision encoder is written down for each architecture of
transformers: a model that is not in the table is refused, never trained in the wrong place. The tests train each family
of the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qlora_api.spec import TowerName
from qlora_trainer.files import read_json

_SPEECH_FIELDS = (
    "audio_config",
    "audio_encoder_config",
    "speech_config",
    "num_mel_bins",
    "conv_stride",
    "input_feat_per_channel",
)
"""Fields of config.json that only models which listen have."""


@dataclass(frozen=True)
class Family:
    """Where the towers of an architecture are, as names of modules in transformers' class for images and text."""

    language: str
    vision: str
    projectors: tuple[str, ...]
    """May lie within the vision encoder's module, and do not belong to it then."""
    type_ids: str = ""
    """Input that tells tokens of images from those of text; empty if the architecture has none."""
    processor: str = ""
    """transformers' class of the processor; empty for that of the architecture."""

    def tower_of(self, name: str) -> TowerName | None:
        """The tower of a module or parameter, by its name in the model; None for the output layer."""
        if _is_below(name, *self.projectors):
            return "projector"
        if _is_below(name, self.vision):
            return "vision"
        return "language" if _is_below(name, self.language) else None

    def pattern(self, tower: TowerName) -> str:
        """A regular expression for the whole name of any module within a tower. Those of two towers exclude each
        other, since PEFT writes them to its file in alphabetical order and takes the first that fits."""
        match tower:
            case "language":
                return rf"{re.escape(self.language)}\..+"
            case "projector":
                return rf"(?:{'|'.join(map(re.escape, self.projectors))})(?:\..+)?"
            case "vision":
                inner = [
                    name.removeprefix(self.vision + ".") for name in self.projectors if _is_below(name, self.vision)
                ]
                but = rf"(?!(?:{'|'.join(map(re.escape, inner))})(?:\.|$))" if inner else ""
                return rf"{re.escape(self.vision)}\.{but}.+"


def _is_below(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


_LLAVA = Family("model.language_model", "model.vision_tower", ("model.multi_modal_projector",))
_IDEFICS3 = Family(
    "model.text_model", "model.vision_model", ("model.connector",), processor="Idefics3Processor"
)  # that of SmolVLM makes the same of images, and wants another package for videos
_QWEN = Family("model.language_model", "model.visual", ("model.visual.merger",), "mm_token_type_ids")

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llava": _LLAVA,
        "idefics3": _IDEFICS3,
        "smolvlm": _IDEFICS3,
        "qwen2_vl": _QWEN,
        "qwen2_5_vl": _QWEN,
        "qwen3_vl": Family(
            "model.language_model",
            "model.visual",
            ("model.visual.merger", "model.visual.deepstack_merger_list"),
            "mm_token_type_ids",
        ),
        "gemma3": Family(_LLAVA.language, _LLAVA.vision, _LLAVA.projectors, "token_type_ids"),
    }
)
"""By the `model_type` of config.json."""


def family_of(model: Path) -> Family | None:
    """The family of the vision-language model in a folder; None for a model of text."""
    return FAMILIES.get(str((read_json(model / "config.json") or {}).get("model_type")))


def architecture_fault(config: dict[str, Any]) -> str:
    """Why a model of this config.json cannot be trained, with what to write instead; empty if it perhaps can."""
    kind = config.get("model_type")
    if any(config.get(field) is not None for field in _SPEECH_FIELDS):
        return (
            f"{kind} is a speech model, and rows hold no sound; write a causal language model, or a vision-language "
            f"model of {_known()}"
        )
    if config.get("is_encoder_decoder"):
        return f"{kind} has an encoder and a decoder; write a causal language model, which only decodes"
    if config.get("vision_config") is not None and kind not in FAMILIES:
        return (
            f"which modules of {kind} are its language model and its vision encoder is not known; write a "
            f"vision-language model of {_known()}, or a causal language model"
        )
    return ""


def _known() -> str:
    return f"model_type {', '.join(FAMILIES)}"
