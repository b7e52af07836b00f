"""SIGTERM in a rank: before training it ends the rank, in training it asks for a checkpoint after the step."""

from __future__ import annotations

import signal
from types import FrameType

from qlora_trainer.errors import StopRequested


class StopSignal:
    """Remembers that the pod was asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self.is_training = False

    def install(self) -> None:
        """Takes over SIGTERM and ignores SIGINT, which a terminal would send to every process at once."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if not self.is_training:
            raise StopRequested
