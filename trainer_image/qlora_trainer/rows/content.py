"""What a row of a dataset is, whatever file and format it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from qlora_trainer.rows.images import Picture

Message = dict[str, str]
"""`role` and `content`."""
ImageMessage = dict[str, Any]
"""`role` and `content`: a list of {type: text, text} and {type: image}."""


@dataclass(frozen=True)
class Chat:
    """Messages, which a chat template renders."""

    messages: list[Message]


@dataclass(frozen=True)
class ImageChat:
    """Messages for a model that sees."""

    messages: list[ImageMessage]
    images: list[Picture]
    """One for each part of type image, in their order."""


@dataclass(frozen=True)
class Completion:
    """A text and how it goes on, without a chat template."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Text:
    """A document."""

    text: str


Content = Chat | ImageChat | Completion | Text


class Row(NamedTuple):
    """A row and where it stands."""

    where: str
    """Such as `train.jsonl line 3`."""
    content: Content


class Fault(NamedTuple):
    """A row that cannot be used."""

    where: str
    what: str
    """What is wrong, and what a row should be."""
