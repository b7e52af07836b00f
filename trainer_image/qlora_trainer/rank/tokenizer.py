"""The tokenizer of the base model, with the chat template of the job."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer

from qlora_api.spec import DatasetSpec


def load_tokenizer(model: str, dataset: DatasetSpec) -> Any:
    """Reads the tokenizer from the model's folder."""
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    if dataset.chat_template is not None:
        tokenizer.chat_template = dataset.chat_template
    return tokenizer
