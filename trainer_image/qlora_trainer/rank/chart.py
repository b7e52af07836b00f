"""`loss.png` in the output folder: the loss of every step and of every evaluation, read from the journal's files.

It is made anew from the files, so it shows the steps before a restart as well.
"""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qlora_trainer import log
from qlora_trainer.files import replace_bytes
from qlora_trainer.rank.journal import EVALUATIONS, STEPS, Reporter

CHART = "loss.png"
_SHARE_OF_TIME = 0.02
"""What a long journal may take: reading a million lines takes seconds."""
_SMOOTHED_POINTS = 60
"""The smoothed curve has about so many independent points; each is the mean of that part of the steps."""


class Losses(NamedTuple):
    """Losses by step: both arrays of shape (points,), by rising step."""

    steps: np.ndarray
    losses: np.ndarray

    @property
    def smoothed(self) -> Losses:
        """The mean of each step and its neighbours; at both ends of fewer of them. Few steps stay as they are."""
        width = len(self.steps) // _SMOOTHED_POINTS
        if width == 0:
            return self
        window = np.ones(2 * width + 1)
        sums, counts = (np.convolve(values, window, "same") for values in (self.losses, np.ones(len(self.losses))))
        return Losses(self.steps, sums / counts)


class Chart(Reporter):
    """Draws it when a checkpoint is complete, but never more than a small part of the time.

    Args:
        output: the output folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._due = 0.0
        self._is_stale = False

    def saved(self) -> None:
        """Draws it, unless that was a moment ago. A chart that fails ends no training."""
        begin = time.monotonic()
        self._is_stale = begin < self._due
        if not self._is_stale:
            self._draw()
            end = time.monotonic()
            self._due = end + (end - begin) / _SHARE_OF_TIME

    def close(self) -> None:
        """Draws what was put off."""
        if self._is_stale:
            self._draw()

    def _draw(self) -> None:
        try:
            draw_losses(self._output)
        except Exception as error:
            log.event("no_chart", error=f"{type(error).__name__}: {error}")


def draw_losses(output: Path) -> None:
    """Draws the chart of an output folder; without a step there is none.

    Raises:
        OSError: the folder cannot be read or written.
    """
    training, evaluation = read_losses(output / STEPS), read_losses(output / EVALUATIONS)
    if len(training.steps):
        replace_bytes(output / CHART, render(training, evaluation))


def read_losses(file: Path) -> Losses:
    """The losses of a file of the journal: of several lines of a step the newest. Half a line is passed over."""
    found: dict[int, float] = {}
    if file.exists():
        for text in file.read_bytes().splitlines():
            line = _parse(text)
            if line is not None:
                found[line["step"]] = line["loss"]
    steps = sorted(found)
    return Losses(np.array(steps, np.int64), np.array([found[step] for step in steps], np.float64))


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return line


def render(training: Losses, evaluation: Losses) -> bytes:
    """The chart as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="optimizer step", ylabel="mean loss (nats a token)")
    axes.plot(*training, color="tab:blue", alpha=0.25, linewidth=1, marker="." if len(training.steps) == 1 else "")
    axes.plot(
        *training.smoothed,
        color="tab:blue",
        linewidth=1.8,
        label="training, smoothed" if training.smoothed is not training else "training",
    )
    if len(evaluation.steps):
        axes.plot(*evaluation, color="tab:orange", linewidth=1.8, marker="o", markersize=4, label="held-out rows")
        best = int(np.argmin(evaluation.losses))
        step, loss = evaluation.steps[best], evaluation.losses[best]
        label = f"best: {loss:.4f} at step {step}"
        axes.plot(step, loss, color="tab:red", linestyle="", marker="*", markersize=12, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
