"""Where the assistant speaks in a rendered chat."""

from __future__ import annotations

from itertools import takewhile
from typing import Protocol

from qlora_trainer.rows.content import Message

Span = tuple[int, int]
_MARK = "\ue000"
"""A character for private use, which texts do not have."""


class Render(Protocol):
    """Renders messages by a chat template; with `prompt`, up to where the assistant would begin to speak."""

    def __call__(self, messages: list[Message], /, prompt: bool = False) -> str:
        """The text."""


def assistant_spans(messages: list[Message], text: str, render: Render) -> list[Span]:
    """Begin and end of each turn of the assistant in `text`, the rendered chat: from the end of its prompt on.

    A turn is what rendering one message more adds to the rendered messages before it. Templates that render earlier
    turns differently from the last one break that; there a mark is rendered in the answer's place, and the answer is
    what stands between the same neighbours. A turn that the template leaves out has no span.
    """
    spans: list[Span] = []
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(messages[:position], prompt=True) if position else ""
        through = render(messages[: position + 1])
        if position and text.startswith(through) and through.startswith(before):
            spans.append((len(before), len(through)))
            continue
        span = _marked_span(messages, position, text, before, render)
        if span is not None:
            spans.append(span)
    return spans


def _marked_span(messages: list[Message], position: int, text: str, before: str, render: Render) -> Span | None:
    mark = _MARK
    while mark in text:
        mark += _MARK
    marked = [*messages]
    marked[position] = {**messages[position], "content": mark}
    head, found, tail = render(marked).partition(mark)
    if not found or not text.endswith(tail):
        return None
    begin = len(before) if before and text.startswith(before) else _common(head, text)
    end = len(text) - len(tail)
    _, _, end_of_turn = render(marked[: position + 1]).partition(mark)
    for ending in (end_of_turn, end_of_turn.rstrip()):
        if tail.startswith(ending):
            return begin, end + len(ending)
    return begin, end


def _common(one: str, other: str) -> int:
    """Length of the beginning that two texts share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
