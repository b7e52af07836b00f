"""Rows of messages for a model that sees: contents with parts, and images within them or beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qlora_trainer.rows.content import ImageChat, ImageMessage
from qlora_trainer.rows.images import Picture, find_picture

PLACE = "<image>"
"""Where an image of the row stands in a text."""
_OWN = ("image", "path", "url")
"""Fields of a part that can hold its image."""
_COLUMNS = ("images", "image")

_Part = dict[str, str]


class _WrongRowError(Exception):
    """What is wrong with the row."""


def read_image_chat(messages: list[ImageMessage], images: Any, folder: Path) -> ImageChat | str:
    """The row, or what is wrong with it.

    Args:
        messages: whose contents are texts, or lists of parts as the row has them.
        images: what stands beside them: an image, or a list.
        folder: of the row's file.
    """
    try:
        beside = [_picture(value, f"images[{i}]", folder) for i, value in enumerate(_listed(images))]
        chat, places = [], list[Picture | None]()
        for position, message in enumerate(messages):
            parts = []
            for part, own in _parts(message["content"], f"messages[{position}].content", folder):
                parts.append(part)
                if part["type"] == "image":
                    if message["role"] == "assistant":
                        raise _WrongRowError(
                            f"messages[{position}] of the assistant has an image, which is not learned; put it into a "
                            "message of the user"
                        )
                    places.append(own)
            chat.append({"role": message["role"], "content": parts})
        if beside and None not in places:
            _put_first(chat, len(beside))
            places = [*([None] * len(beside)), *places]
        empty = places.count(None)
        if empty != len(beside):
            raise _WrongRowError(
                f"{empty} places for images and {len(beside)} images beside the messages; write one place for each, "
                f"{PLACE} or a part of type image, or none to put all of them first"
            )
        following = iter(beside)
        return ImageChat(chat, [own or next(following) for own in places])
    except _WrongRowError as wrong:
        return str(wrong)


def images_beside(record: dict[str, Any], name: str | None) -> Any:
    """What a row has beside its messages, in the column that the job names, or else a usual one."""
    found = (record.get(column) for column in ((name,) if name else _COLUMNS))
    return next((value for value in found if value is not None), None)


def _listed(images: Any) -> list[Any]:
    if images is None:
        return []
    return images if isinstance(images, list) else [images]


def _parts(content: Any, where: str, folder: Path) -> Iterator[tuple[_Part, Picture | None]]:
    """The parts of a content, an image with its picture if the part holds it."""
    if isinstance(content, str):
        yield from _of_text(content)
        return
    if not isinstance(content, list):
        raise _WrongRowError(f"{where} is neither a text nor a list of parts")
    for number, part in enumerate(content):
        here = f"{where}[{number}]"
        if not isinstance(part, dict):
            raise _WrongRowError(f"{here} is not an object")
        match part.get("type"):
            case "text" if isinstance(part.get("text"), str):
                yield from _of_text(part["text"])
            case "image":
                own = next((part[field] for field in _OWN if part.get(field) is not None), None)
                yield {"type": "image"}, None if own is None else _picture(own, here, folder)
            case other:
                raise _WrongRowError(
                    f"{here} is of type {other!r} without its value; write {{type: text, text: …}} or "
                    "{type: image, image: path}"
                )


def _of_text(text: str) -> Iterator[tuple[_Part, None]]:
    """A text, with an image wherever the place for one stands in it."""
    for number, piece in enumerate(text.split(PLACE)):
        if number:
            yield {"type": "image"}, None
        if piece:
            yield {"type": "text", "text": piece}, None


def _picture(value: Any, where: str, folder: Path) -> Picture:
    found = find_picture(value, folder)
    if isinstance(found, str):
        raise _WrongRowError(f"{where}: {found}")
    return found


def _put_first(chat: list[ImageMessage], number: int) -> None:
    """Puts images before what the user says first."""
    for message in chat:
        if message["role"] == "user":
            message["content"] = [*({"type": "image"} for _ in range(number)), *message["content"]]
            return
    raise _WrongRowError("images stand beside messages of which none is the user's; write a message with role 'user'")
