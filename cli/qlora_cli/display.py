"""How far the training is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from qlora_api.durations import format_duration
from qlora_api.report import Progress

PLAIN_SECONDS = 10.0
"""Between two plain lines of the same state."""


class Display:
    """Shows the figures of one attempt. Use it as a context manager.

    Args:
        console: where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("Fetching", total=None, figures="")
        self._last: Progress | None = None
        self._shown: Progress | None = None
        self._shown_at = -PLAIN_SECONDS
        self._restarts = 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()
        if self._last is not None and self._last is not self._shown:
            self._line(self._last)

    def __call__(self, progress: Progress) -> None:
        """Shows the newest figures."""
        for restart in progress.restarts:
            if restart.number > self._restarts:
                self._restarts = restart.number
                self.say(f"restart {restart.number} in place: {restart.reason}: {restart.message}")
        if self._last is None or _seen(progress) != _seen(self._last):
            self._last = progress
            self._bars.update(
                self._task,
                description=progress.state,
                completed=progress.step,
                total=progress.of or None,
                figures=figures(progress),
            )
        is_new = self._shown is None or self._shown.state != self._last.state
        is_due = time.monotonic() - self._shown_at >= PLAIN_SECONDS and self._last is not self._shown
        if is_new or is_due:
            self._line(self._last)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _line(self, progress: Progress) -> None:
        self._shown, self._shown_at = progress, time.monotonic()
        if not self._console.is_terminal:
            self.say(f"{progress.state:<10} {figures(progress)}".rstrip())


def figures(progress: Progress) -> str:
    """Step, loss, speed and the time that is left, as far as they are known."""
    parts = []
    if progress.of:
        parts.append(f"step {progress.step}/{progress.of}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4f}")
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:.0f} tokens/s")
    if progress.eta_seconds is not None:
        parts.append(f"ETA {format_duration(progress.eta_seconds)}")
    return "  ".join(parts)


def _seen(progress: Progress) -> tuple[str, int, int]:
    return progress.state, progress.step, progress.of
