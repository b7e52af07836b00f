"""What a row of a dataset is, whatever file and format it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Message = dict[str, str]
"""`role` and `content`."""


@dataclass(frozen=True)
class Chat:
    """Messages, which a chat template renders."""

    messages: list[Message]


@dataclass(frozen=True)
class Completion:
    """A text and how it goes on, without a chat template."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Text:
    """A document."""

    text: str


Content = Chat | Completion | Text


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
