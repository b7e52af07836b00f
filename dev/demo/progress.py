"""Says what is being done, how long so far, and how long it took: in place on a terminal, in lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 15


class Step:
    """One thing that takes a while. `detail` tells how far it is."""

    def __init__(self, message: str) -> None:
        self.message = message
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(message)

    def detail(self, text: str) -> None:
        self._bar.update(self._task, description=f"{self.message}: {text}")
        now = time.monotonic()
        if self._bar.disable and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(f"{self.message}: {text} ({self.seconds:.0f} s so far)", flush=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


@contextmanager
def step(message: str) -> Iterator[Step]:
    current = Step(message)
    if current._bar.disable:
        print(f"{message} ...", flush=True)
    with current._bar:
        yield current
    print(f"{message}: {current.seconds:.0f} s", flush=True)
