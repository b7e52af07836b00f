"""Whether a folder is a model that can be trained: config, tokenizer and whole safetensors, and no code of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import architecture_fault
from qlora_trainer.fetch.folder import missing
from qlora_trainer.fetch.weights import read_folder_shapes
from qlora_trainer.files import read_json

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def check_model(source: str, folder: Path, needs_chat_template: bool) -> None:
    """Checks a model's files.

    Raises:
        TrainerError: ModelInvalid, with the file and what to do.
    """
    fault = _fault(source, folder, needs_chat_template)
    if fault:
        raise TrainerError(Reason.MODEL_INVALID, fault)


def _fault(source: str, folder: Path, needs_chat_template: bool) -> str:
    """The first fault as a sentence, or an empty string."""
    if not folder.exists():
        return missing("model.source", source, folder)
    if not folder.is_dir():
        return f"model.source {source}: {folder} is a file; write the folder that holds config.json"
    return (
        _config_fault(source, folder)
        or _weights_fault(source, folder)
        or _tokenizer_fault(source, folder, needs_chat_template)
    )


def _config_fault(source: str, folder: Path) -> str:
    if not (folder / "config.json").exists():
        if (folder / "adapter_config.json").exists():
            return f"model.source {source}: this is an adapter; write the base model that it was trained on"
        return f"model.source {source}: {folder} has no config.json; write the folder that save_pretrained has made"
    config = read_json(folder / "config.json")
    if config is None:
        return f"model.source {source}: config.json is not a JSON object; copy the model again"
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "unknown")
        return (
            f"model.source {source}: the weights are quantised already ({method}); "
            "write the original model, the trainer quantises it itself"
        )
    if config.get("auto_map") and not _known_to_transformers(config):
        return (
            f"model.source {source}: config.json asks for the model's own code (auto_map), which is never run; "
            "write a model whose architecture is part of transformers"
        )
    fault = architecture_fault(config)
    return f"model.source {source}: {fault}" if fault else ""


def _known_to_transformers(config: dict[str, Any]) -> bool:
    """Whether transformers has the architecture itself, so that the model's own code is not needed."""
    from transformers import CONFIG_MAPPING

    return config.get("model_type") in CONFIG_MAPPING


def _weights_fault(source: str, folder: Path) -> str:
    if not any(folder.glob("*.safetensors")):
        pickles = [file.name for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
        if pickles:
            return (
                f"model.source {source}: the weights are pickle files ({pickles[0]}), which can run code when "
                "they are read; save the model with save_pretrained, which writes safetensors"
            )
        return f"model.source {source}: {folder} has no *.safetensors; copy the model's weights there"
    try:
        shapes = read_folder_shapes(folder)
    except PermissionError as error:
        return f"model.source {source}: {error.filename} is not readable for uid {os.geteuid()}; run chmod a+r on it"
    except (ValueError, KeyError, TypeError) as error:
        return f"model.source {source}: {error}; copy the file again"
    return "" if shapes else f"model.source {source}: the safetensors hold no weights; copy the model again"


def _tokenizer_fault(source: str, folder: Path, needs_chat_template: bool) -> str:
    if not any((folder / name).exists() for name in _TOKENIZERS):
        return f"model.source {source}: {folder} has no tokenizer; copy tokenizer.json and tokenizer_config.json there"
    if needs_chat_template and not _has_chat_template(folder):
        return (
            f"model.source {source}: the tokenizer has no chat template, which dataset.format: messages needs, as "
            "instruction does; write dataset.chatTemplate, or format: prompt-completion or text"
        )
    return ""


def _has_chat_template(folder: Path) -> bool:
    config = read_json(folder / "tokenizer_config.json") or {}
    return bool(config.get("chat_template")) or any(
        (folder / name).exists() for name in ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    )
