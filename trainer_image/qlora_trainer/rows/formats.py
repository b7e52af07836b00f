"""What a record means: `dataset.format` and `dataset.columns` turn it into a row, or into what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from qlora_api.spec import DatasetPart, DatasetSpec, Loss, RowFormat
from qlora_trainer.rows.content import Chat, Completion, Content, Message, Text
from qlora_trainer.rows.image_chat import images_beside, read_image_chat

Object = dict[str, Any]

_FIELDS: dict[RowFormat, tuple[str, ...]] = {
    "messages": ("messages",),
    "instruction": ("instruction", "output"),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}
_OPTIONAL: dict[RowFormat, tuple[str, ...]] = {"instruction": ("input",)}
_ROLES = {"human": "user", "gpt": "assistant"}
"""Other names of roles that are in use."""


class Shape(NamedTuple):
    """How the rows of one source are to be read."""

    format: RowFormat
    names: dict[str, str]
    """Field to the name that it has in the files, where that differs."""
    loss: Loss
    has_images: bool = False
    """Whether messages may have images: the model sees."""

    @classmethod
    def of(cls, dataset: DatasetSpec, part: DatasetPart, has_images: bool = False) -> Shape:
        """The shape of the rows of one part of a dataset."""
        names = part.columns.model_dump(exclude_none=True) if part.columns else {}
        row_format = part.format or dataset.format
        return cls(row_format, names, dataset.loss_of(part), has_images and row_format == "messages")

    def name(self, field: str) -> str:
        """What a field is called in the files."""
        return self.names.get(field, field)

    @property
    def fields(self) -> list[str]:
        """The names of all fields that are read."""
        optional = [*_OPTIONAL.get(self.format, ()), *(["system"] if "system" in self.names else [])]
        if self.has_images:
            optional.append("images")
        return [self.name(field) for field in (*_FIELDS[self.format], *optional)]

    @property
    def example(self) -> str:
        """A row of this shape as JSON."""
        message = {self.name("role"): "assistant", self.name("content"): "…"}
        values: Object = {field: [message] if field == "messages" else "…" for field in _FIELDS[self.format]}
        return json.dumps({self.name(field): value for field, value in values.items()}, ensure_ascii=False)


def interpret(record: Any, shape: Shape, folder: Path = Path()) -> Content | str:
    """The row that a record is, or what is wrong with it. Its images are looked for from `folder`."""
    if not isinstance(record, dict):
        return f"a {type(record).__name__} instead of an object"
    missing = [shape.name(field) for field in _FIELDS[shape.format] if shape.name(field) not in record]
    if missing:
        return f"no field {missing[0]!r}; it has {', '.join(map(repr, list(record)[:8])) or 'none'}{_hint(record)}"
    if shape.format == "messages":
        chat = _chat(record[shape.name("messages")], _system(record, shape), shape)
        if isinstance(chat, Chat) and shape.has_images:
            return read_image_chat(chat.messages, images_beside(record, shape.names.get("images")), folder)
        return chat
    values = {field: record[shape.name(field)] for field in _FIELDS[shape.format]}
    for field in _OPTIONAL.get(shape.format, ()):
        values[field] = record.get(shape.name(field)) or ""
    wrong = [field for field, value in values.items() if not isinstance(value, str)]
    if wrong:
        return f"{shape.name(wrong[0])} is a {type(values[wrong[0]]).__name__} instead of a text"
    if shape.format == "instruction":
        return Chat([*_system(record, shape), *_instruction(**values)])
    return Text(**values) if shape.format == "text" else Completion(**values)


def _hint(record: Object) -> str:
    """What else the record could be."""
    for row_format, fields in _FIELDS.items():
        if all(field in record for field in fields):
            return f", which is a row of dataset.format: {row_format}"
    for field, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            names = ", role: from, content: value" if "from" in value[0] and "value" in value[0] else ""
            return f"; perhaps write dataset.columns: {{messages: {field}{names}}}"
    return ""


def _system(record: Object, shape: Shape) -> list[Message]:
    """The system message, if a column has it."""
    content = record.get(shape.name("system")) if "system" in shape.names else None
    return [{"role": "system", "content": content}] if isinstance(content, str) and content else []


def _instruction(instruction: str, output: str, input: str) -> list[Message]:  # noqa: A002 - the fields' names
    question = f"{instruction}\n\n{input}" if input else instruction
    return [{"role": "user", "content": question}, {"role": "assistant", "content": output}]


def _chat(messages: Any, system: list[Message], shape: Shape) -> Chat | str:
    field, role, content = (shape.name(name) for name in ("messages", "role", "content"))
    if not isinstance(messages, list) or not messages:
        return f"{field} is not a list with at least one message"
    chat = list(system)
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"{field}[{position}] is not an object"
        for name in (role, content):
            if not isinstance(message.get(name), str) and not (shape.has_images and name == content):
                return f"{field}[{position}].{name} is not a text{_message_hint(message)}"
        speaker: str = message[role]
        chat.append({"role": _ROLES.get(speaker, speaker), "content": message[content]})
    if shape.loss != "all" and all(message["role"] != "assistant" for message in chat):
        return "no message has role 'assistant', so there is nothing to learn (or write dataset.loss: all)"
    return Chat(chat)


def _message_hint(message: Object) -> str:
    return "; write dataset.columns: {role: from, content: value}" if {"from", "value"} <= set(message) else ""
