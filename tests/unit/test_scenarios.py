"""The table of scenarios names real tests, and leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
BUG = re.compile(r"^\| .* \| `([^`]+\.py)::(\w+)` \|$", re.MULTILINE)
ROW = re.compile(r"^\| (\d+) \|.*?(?:\| `([^`]+\.py)::(\w+)` \|)?$")
LAST = 56


def rows(page: str) -> dict[int, tuple[str, str]]:
    found = (ROW.match(line) for line in (DOCS / page).read_text().splitlines())
    return {int(row[1]): (row[2] or "", row[3] or "") for row in found if row is not None}


def test_every_scenario_has_a_test_or_a_reason_for_having_none() -> None:
    tested, untested = rows("scenarios.md"), rows("limits.md")
    assert not set(tested) & set(untested)
    assert set(tested) | set(untested) == set(range(1, LAST + 1))


@pytest.mark.parametrize(("file", "name"), BUG.findall((DOCS / "lessons.md").read_text()))
def test_the_test_against_a_bug_of_others_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (TESTS / file).read_text()


@pytest.mark.parametrize(("number", "where"), rows("scenarios.md").items())
def test_the_test_of_a_scenario_exists(number: int, where: tuple[str, str]) -> None:
    file, name = where
    assert f"def {name}(" in (TESTS / file).read_text(), f"scenario {number}"
