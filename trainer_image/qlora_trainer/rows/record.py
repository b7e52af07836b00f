"""What the readers of files yield."""

from __future__ import annotations

from typing import Any, NamedTuple


class Record(NamedTuple):
    """One record of a file: a value, or why there is none."""

    where: str
    """Place in the file, such as `line 3`; empty for the file as a whole."""
    value: Any
    fault: str = ""
