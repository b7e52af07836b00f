"""Which files of a model or dataset are downloaded."""

from __future__ import annotations

from qlora_trainer.rows.files import ENDINGS

_PATTERNS = {
    "model": ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"],
    "dataset": [f"*{ending}" for ending in ENDINGS],
}


def wanted(kind: str, files: str | None) -> list[str]:
    """Patterns of what is downloaded: `files` at any depth, as it is looked up in a folder; or all of the kind."""
    return _PATTERNS[kind] if files is None else [files, f"*/{files}"]
