"""Reports to a server from a thread of its own, so that no step waits for the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from qlora_trainer import log
from qlora_trainer.rank.journal import Line, Reporter

WAITING = 10_000
"""Lines that wait for a slow server at most; what comes then is left out."""
CLOSE_SECONDS = 20.0
"""Time that the end of a training waits for what is left."""

_Call = Callable[[Reporter], None]


class InBackground(Reporter):
    """Hands everything on to a reporter that may take long or fail, which ends no training.

    Args:
        name: of the server, for the log.
        connect: makes the reporter; called in the thread.
    """

    def __init__(self, name: str, connect: Callable[[], Reporter]) -> None:
        self._name = name
        self._calls: queue.Queue[_Call | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, args=(connect,), name=name, daemon=True)
        self._thread.start()

    def step(self, line: Line) -> None:
        """Hands it on."""
        self._put(lambda reporter: reporter.step(line))

    def evaluation(self, line: Line) -> None:
        """Hands it on."""
        self._put(lambda reporter: reporter.evaluation(line))

    def sample(self, line: Line) -> None:
        """Hands it on."""
        self._put(lambda reporter: reporter.sample(line))

    def close(self) -> None:
        """Waits a while until all was handed on."""
        self._put(lambda reporter: reporter.close())
        self._put(None)
        self._thread.join(CLOSE_SECONDS)

    def _put(self, call: _Call | None) -> None:
        if self._thread.is_alive():
            try:
                self._calls.put_nowait(call)
            except queue.Full:
                log.event("not_reported", to=self._name, error=f"{WAITING} lines wait already")

    def _work(self, connect: Callable[[], Reporter]) -> None:
        try:
            reporter = connect()
        except Exception as error:
            self._tell(error)
            return
        while (call := self._calls.get()) is not None:
            try:
                call(reporter)
            except Exception as error:
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        log.event("not_reported", to=self._name, error=f"{type(error).__name__}: {error}"[:500])
