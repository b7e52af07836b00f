"""Finds ranks that hang: all live, and neither a step is done nor a portion of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable

from qlora_api.report import Progress
from qlora_api.stall import stall_message


class StallClock:
    """Watches the figures of pod 0's first rank; a rank that hangs anywhere keeps all others waiting."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: tuple[int | None, int, int] | None = None
        self._since = clock()

    def stalled(self, progress: Progress) -> str | None:
        """Says for how long nothing was done, if that is too long; asked again and again."""
        seen = (progress.resumed_step, progress.step, progress.evaluated_portions)
        now = self._clock()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return stall_message(progress, now - self._since)
