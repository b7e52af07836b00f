"""A queue of keys: each key is in it once, is worked on by one worker at a time, and can come back later.

The same guarantees as the work queue of Kubernetes' own controllers (client-go `util/workqueue`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 60.0


class WorkQueue(Generic[K]):
    """Keys to look at. All times are in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[K, float] = {}
        self._running: set[K] = set()
        self._again: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def add(self, key: K) -> None:
        """Asks for a look at `key`. While it is being worked on, it is kept for one more look."""
        if key in self._running:
            self._again.setdefault(key, self._clock())
        elif key not in self._waiting:
            self._waiting[key] = self._clock()
            self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """Asks for a look in `delay` seconds, or at once; an earlier appointment stands."""
        if delay <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if known is not None:
            if known.when() <= loop.time() + delay:
                return
            known.cancel()
        self._timers[key] = loop.call_later(delay, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def get(self) -> K:
        """Waits for a key and hands it out; `done` must follow."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._running.add(key)
        return key

    def done(self, key: K) -> None:
        """Ends the work on a key that went well."""
        self._failures.pop(key, None)
        self._finish(key)

    def failed(self, key: K, at_least: float = 0.0) -> float:
        """Ends the work on a key that went wrong; it comes back after a growing delay, which is returned."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures - 1, 10))
        delay: float = max(at_least, backoff * random.uniform(0.5, 1.0))  # noqa: S311
        self._again.pop(key, None)
        self._finish(key)
        self.add_after(key, delay)
        return delay

    def _finish(self, key: K) -> None:
        self._running.discard(key)
        since = self._again.pop(key, None)
        if since is not None:
            self._waiting[key] = since
            self._wake.set()

    def oldest_age(self) -> float:
        """How long the oldest key has been waiting to be looked at."""
        times = [*self._waiting.values(), *self._again.values()]
        return self._clock() - min(times) if times else 0.0
