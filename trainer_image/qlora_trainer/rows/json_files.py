"""Reads JSON: one value a line, or one list, of which only a part is in memory at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from qlora_trainer.rows.record import Record

CHUNK = 2**20
"""Characters of a list that are read at once."""
_BETWEEN = re.compile(r"[\s,]*")


def read_json_lines(file: Path) -> Iterator[Record]:
    """A value a line; blank lines are skipped."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _parse(f"line {number}", line)


def read_json(file: Path) -> Iterator[Record]:
    """A list of values, or a value a line."""
    with file.open("rb") as stream:
        is_list = stream.read(CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return _read_list(file) if is_list else read_json_lines(file)


def _parse(where: str, line: bytes) -> Record:
    try:
        return Record(where, json.loads(line.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        return Record(where, None, f"not UTF-8 at byte {error.start}")
    except ValueError as error:
        return Record(where, None, f"not JSON ({error})")


def _read_list(file: Path) -> Iterator[Record]:
    decoder, number = json.JSONDecoder(), 0
    with file.open(encoding="utf-8-sig") as stream:
        text = stream.read(CHUNK).lstrip()
        place = 1  # behind the bracket
        while True:
            where = f"row {number + 1}"
            place = _between(text, place)
            if text[place : place + 1] == "]":
                return
            try:
                value, place = decoder.raw_decode(text, place)
            except ValueError as error:
                try:
                    more = stream.read(max(CHUNK, len(text) - place))
                except UnicodeDecodeError:
                    yield Record(where, None, "not UTF-8 here or soon after")
                    return
                if not more:
                    yield Record(where, None, f"not JSON ({getattr(error, 'msg', error)})")
                    return
                text, place = text[place:] + more, 0
                continue
            number += 1
            yield Record(where, value)


def _between(text: str, place: int) -> int:
    """Where the next value or the closing bracket begins."""
    found = _BETWEEN.match(text, place)
    assert found is not None, "it matches nothing as well"
    return found.end()
