"""What the output folder tells of the training: `log.jsonl`, `evaluation.jsonl` and `samples.jsonl`.

Steps that are done again after a restart are written again; of several lines of a step the newest counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STEPS, EVALUATIONS, SAMPLES = "log.jsonl", "evaluation.jsonl", "samples.jsonl"

Line = dict[str, Any]


class Reporter:
    """Hears of the figures of a training, on rank 0; a subclass does something about those that it wants."""

    def step(self, line: Line) -> None:
        """Hears of an optimizer step."""

    def evaluation(self, line: Line) -> None:
        """Hears of an evaluation."""

    def sample(self, line: Line) -> None:
        """Hears of a text of the model."""

    def saved(self) -> None:
        """Hears of a complete checkpoint, in the thread that has written it."""

    def close(self) -> None:
        """Hears nothing more; returns when all is written."""


class Journal(Reporter):
    """The files.

    Args:
        output: the output folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output

    def step(self, line: Line) -> None:
        """Writes a line of `log.jsonl`."""
        self._append(STEPS, line)

    def evaluation(self, line: Line) -> None:
        """Writes a line of `evaluation.jsonl`."""
        self._append(EVALUATIONS, line)

    def sample(self, line: Line) -> None:
        """Writes a line of `samples.jsonl`."""
        self._append(SAMPLES, line)

    def _append(self, name: str, line: Line) -> None:
        with (self._output / name).open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
