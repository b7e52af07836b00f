"""Rows of a dataset: reads `.jsonl` files and checks each row against `dataset.format`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qlora_api.reasons import Reason
from qlora_api.spec import DatasetSpec
from qlora_trainer.errors import TrainerError

Row = dict[str, Any]

_EXPECTED = {
    "messages": '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    "prompt-completion": '{"prompt": "…", "completion": "…"}',
    "text": '{"text": "…"}',
}
_FIELDS = {"messages": ("messages",), "prompt-completion": ("prompt", "completion"), "text": ("text",)}


def learns_everything(dataset: DatasetSpec) -> bool:
    """Whether the loss is on every token, and not only on what the assistant says."""
    return (dataset.loss or ("all" if dataset.format == "text" else "assistant")) == "all"


def read_rows(files: Sequence[Path], dataset: DatasetSpec) -> Iterator[Row]:
    """All rows, file after file; blank lines are skipped.

    Raises:
        TrainerError: a line is not JSON or not a row of `dataset.format`; the message has file and line number.
    """
    everything = learns_everything(dataset)
    for file in files:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row, fault = _parse(line, dataset.format, everything)
                if row is None:
                    raise TrainerError(
                        Reason.DATASET_INVALID,
                        f"{file.name} line {number}: {fault}; "
                        f"a row of format {dataset.format} is {_EXPECTED[dataset.format]}",
                    )
                yield row


def _parse(line: bytes, row_format: str, everything: bool) -> tuple[Row | None, str]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 at byte {error.start}"
    except ValueError as error:
        return None, f"not JSON ({error})"
    if not isinstance(row, dict):
        return None, f"a {type(row).__name__} instead of an object"
    fault = _row_fault(row, row_format, everything)
    return (None, fault) if fault else (row, "")


def _row_fault(row: Row, row_format: str, everything: bool) -> str:
    """What is wrong with a row, or an empty string."""
    missing = [field for field in _FIELDS[row_format] if field not in row]
    if missing:
        other = next((name for name, fields in _FIELDS.items() if all(field in row for field in fields)), None)
        hint = f", which is a row of dataset.format: {other}" if other else ""
        return f"no field {missing[0]!r}; it has {', '.join(map(repr, list(row)[:8])) or 'none'}{hint}"
    if row_format == "messages":
        return _messages_fault(row["messages"], everything)
    wrong = [field for field in _FIELDS[row_format] if not isinstance(row[field], str)]
    return f"{wrong[0]} is a {type(row[wrong[0]]).__name__} instead of a text" if wrong else ""


def _messages_fault(messages: Any, everything: bool) -> str:
    if not isinstance(messages, list) or not messages:
        return "messages is not a list with at least one message"
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"messages[{position}] is not an object"
        for field in ("role", "content"):
            if not isinstance(message.get(field), str):
                return f"messages[{position}].{field} is not a text"
    if not everything and all(message["role"] != "assistant" for message in messages):
        return "no message has role 'assistant', so there is nothing to learn (or write dataset.loss: all)"
    return ""
