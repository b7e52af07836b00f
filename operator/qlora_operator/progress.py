"""Asks the first pod of each running job for its step and loss, under one budget for all jobs.

A pod's answer is untrusted: it is bounded in size and time, parsed and checked, and must name the job's UID.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from qlora_api import names, report
from qlora_operator.metrics import PROGRESS_POLLS
from qlora_operator.plan import Heard
from qlora_operator.views import Key

log = logging.getLogger(__name__)

TIMEOUT = 2.0
IDLE = 0.2
UNREACHABLE_BACKOFF = 4.0


SILENCE_WORTH_TELLING = 30.0
"""Seconds without a step from which on each answer makes the job looked at."""


@dataclass
class _Target:
    uid: str
    attempt: int
    address: str
    due: float
    latest: report.Progress | None = None
    answered_at: float = 0.0
    moved_at: float = 0.0

    def take(self, progress: report.Progress, now: float) -> bool:
        """Keeps an answer; returns whether it says anything new."""
        before, self.latest = self.latest, progress
        self.answered_at = now
        if before is None or _position(before) != _position(progress):
            self.moved_at = now
        volatile = {"updated", "evaluated_portions", "resident_memory_bytes", "gpu_memory_bytes"}
        return before is None or before.model_dump(exclude=volatile) != progress.model_dump(exclude=volatile)

    @property
    def silence(self) -> float:
        return self.answered_at - self.moved_at


@dataclass(frozen=True)
class Figures:
    """What a pod last told, and how long ago its step was seen to change."""

    progress: report.Progress
    step_age: float
    """Seconds, whether the pod still answers or not."""


class ProgressPoller:
    """Remembers what each job's first pod last told.

    Args:
        interval: seconds between two questions to one pod.
        budget: questions a second over all pods; with many jobs the interval grows.
        on_news: called with the job whose figures have changed.
    """

    def __init__(self, interval: float, budget: float, on_news: Callable[[Key], None]) -> None:
        self._interval = interval
        self._pause = 1.0 / budget
        self._on_news = on_news
        self._targets: dict[Key, _Target] = {}

    def watch(self, key: Key, uid: str, attempt: int, address: str) -> None:
        """Asks that pod from now on."""
        target = self._targets.get(key)
        if target is None or (target.uid, target.attempt, target.address) != (uid, attempt, address):
            self._targets[key] = _Target(uid, attempt, address, due=time.monotonic())

    def forget(self, key: Key) -> None:
        """Asks it no more."""
        self._targets.pop(key, None)

    def heard(self, key: Key) -> Heard | None:
        """What the job's first pod last told."""
        target = self._targets.get(key)
        if target is None or target.latest is None:
            return None
        return Heard(target.latest, target.silence)

    def figures(self) -> dict[Key, Figures]:
        """The newest figures of every job whose pod has answered."""
        now = time.monotonic()
        targets = self._targets.items()
        return {key: Figures(found.latest, now - found.moved_at) for key, found in targets if found.latest is not None}

    async def run(self) -> None:
        """Asks one pod after another, the longest due first, for ever."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        connector = aiohttp.TCPConnector(force_close=True, limit=16)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
            running: set[asyncio.Task[None]] = set()
            while True:
                key = self._next_due()
                if key is None:
                    await asyncio.sleep(IDLE)
                    continue
                target = self._targets[key]
                target.due = time.monotonic() + self._interval
                task = asyncio.create_task(self._ask(session, key, target))
                running.add(task)
                task.add_done_callback(running.discard)
                await asyncio.sleep(self._pause)

    def _next_due(self) -> Key | None:
        now = time.monotonic()
        due = [(target.due, key) for key, target in self._targets.items() if target.due <= now]
        return min(due)[1] if due else None

    async def _ask(self, session: aiohttp.ClientSession, key: Key, target: _Target) -> None:
        progress = None
        try:
            async with session.get(_url(target.address), allow_redirects=False) as response:
                data = await response.content.read(report.PROGRESS_LIMIT + 1)
            progress = report.Progress.from_untrusted(data, report.PROGRESS_LIMIT)
            result = "answered" if progress is not None else "invalid"
        except (aiohttp.ClientError, TimeoutError, OSError):
            result = "unreachable"
            target.due += UNREACHABLE_BACKOFF * self._interval
        PROGRESS_POLLS.labels(result=result).inc()
        if progress is None or (progress.uid, progress.attempt) != (target.uid, target.attempt):
            return
        is_news = target.take(progress, time.monotonic())
        if self._targets.get(key) is target and (is_news or target.silence > SILENCE_WORTH_TELLING):
            self._on_news(key)


def _position(progress: report.Progress) -> tuple[object, ...]:
    """What stands still while a gang hangs."""
    return progress.step, progress.evaluated_portions, progress.state, progress.resumed_step, len(progress.restarts)


def _url(address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{names.STATUS_PORT}/status"
