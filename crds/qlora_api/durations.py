"""Durations as people write them: `90s`, `5m`, `1h30m`, `7d`."""

from __future__ import annotations

import re

DURATION_PATTERN = r"^([0-9]+[dhms])+$"
LASTING_PATTERN = r"^([0-9]+[dhms])*0*[1-9][0-9]*[dhms]([0-9]+[dhms])*$"
"""One that is not zero."""
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_duration(text: str) -> int:
    """Seconds of a duration such as `1h30m`.

    Raises:
        ValueError: the text is empty or not of that form.
    """
    if not text or not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r}: write a duration such as 90s, 5m, 1h30m or 7d")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", text))


def format_duration(seconds: float) -> str:
    """The two largest units that are not zero: `42s`, `4m10s`, `2h5m`, `3d1h`."""
    rest = max(0, round(seconds))
    parts = []
    for unit, size in _UNITS.items():
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts[:2]) or "0s"
