"""The table that the benchmark prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing that was measured, of the operator and of the null operator in the same run."""

    what: str
    aim: str
    measured: str
    null: str = ""
    ratio: str = ""
    holds: bool | None = None
    """Whether the aim is met, where there is one."""


HEAD = Row("what", "aim", "measured", "null", "ratio")


def ratio(ours: float, null: float) -> str:
    """How many times the null operator's."""
    return f"{ours / null:.2f}" if null else ""


def render(rows: Iterable[Row]) -> str:
    """A Markdown table; aims that are missed are marked."""
    table = [_cells(HEAD, "holds"), *(_cells(row, _verdict(row)) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    head, *body = (" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (head, rule, *body))


def _cells(row: Row, verdict: str) -> list[str]:
    return [row.what, row.aim, row.measured, row.null, row.ratio, verdict]


def _verdict(row: Row) -> str:
    return "" if row.holds is None else "yes" if row.holds else "NO"
