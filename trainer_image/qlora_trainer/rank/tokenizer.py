"""The tokenizer of the base model, or the processor of one that sees, with the chat template of the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from qlora_api.spec import DatasetSpec
from qlora_trainer.fetch.families import family_of


def load_tokenizer(model: str, dataset: DatasetSpec) -> Any:
    """Reads the tokenizer from the model's folder."""
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    if dataset.chat_template is not None:
        tokenizer.chat_template = dataset.chat_template
    return tokenizer


def load_reader(model: str, dataset: DatasetSpec) -> Any:
    """What makes tokens of the dataset: the tokenizer, or the processor of a vision-language model."""
    if family_of(Path(model)) is None:
        return load_tokenizer(model, dataset)
    from qlora_trainer.rank.processor import load_processor

    return load_processor(model, dataset)


def is_processor(reader: Any) -> bool:
    """Whether it is the processor of a vision-language model, with a tokenizer inside."""
    return hasattr(reader, "image_processor")
