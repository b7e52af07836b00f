"""Ctrl-C and SIGTERM: the first asks for a checkpoint, the second ends everything at once."""

from __future__ import annotations

import signal
import time
from types import FrameType


class Stop:
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[int] = []

    def install(self) -> None:
        """Takes over both signals."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requests.append(number)

    @property
    def requested(self) -> bool:
        """Whether to stop after a checkpoint."""
        return bool(self.requests)

    @property
    def urgent(self) -> bool:
        """Whether to stop at once."""
        return len(self.requests) > 1

    @property
    def exit_code(self) -> int:
        """As a shell has it for a process that the signal ends."""
        return 128 + self.requests[0]

    def wait(self, seconds: float) -> None:
        """Sleeps, but not on when asked to stop."""
        deadline = time.monotonic() + seconds
        while not self.requested and time.monotonic() < deadline:
            time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
