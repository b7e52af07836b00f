from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_api.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("1d2h3m4s", 93_784)]
)
def test_durations_are_parsed(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "5 m", "-1s", "1w", "s"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration such as 90s, 5m, 1h30m or 7d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (42.4, "42s"), (250, "4m10s"), (7500, "2h5m"), (262_800, "3d1h"), (-3, "0s")]
)
def test_durations_are_written_with_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 3599))
def test_short_durations_survive_writing_and_parsing(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
