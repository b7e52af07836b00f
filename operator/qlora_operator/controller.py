"""Holds the parts together: cache, queue, workers, resync, poller."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from qlora_api import names
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.cluster import ApiError, Cluster
from qlora_operator.logs import about
from qlora_operator.metrics import RECONCILE_ERRORS, RECONCILE_SECONDS
from qlora_operator.progress import ProgressPoller
from qlora_operator.reconcile import Reconciler
from qlora_operator.settings import Settings
from qlora_operator.views import KINDS, POD, QLORA_JOB, Key, Kind, View
from qlora_operator.work_queue import WorkQueue

log = logging.getLogger(__name__)

RESYNC_RETRY = 5.0
GATHERING = 0.05
"""Seconds for which news of pods is gathered: the pods of a job come and go together, and one look at all is enough."""


class Controller:
    """The running operator. `start` it in the event loop, feed it events, `stop` it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.poller = ProgressPoller(settings.progress_interval, settings.progress_budget, self.queue.add)
        self.may_write: Callable[[], bool] = lambda: True
        """Asked before each write: a replica that has lost its Lease must not make one."""
        self._cluster: Cluster | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._last_resync: float | None = None

    async def start(self) -> None:
        """Lists every watched kind once, then lets the workers loose: nothing is planned on a half-filled cache."""
        settings = self._settings
        self._cluster = cluster = await Cluster.connect(self.may_write)
        await self.resync(cluster)
        defaults = PodDefaults(
            image=settings.trainer_image,
            image_pull_policy=settings.image_pull_policy,
            termination_grace_period=settings.termination_grace_period,
            image_pull_secrets=settings.image_pull_secrets,
        )
        reconciler = Reconciler(cluster, self.cache, self.poller, defaults)
        for key in self.cache.known_jobs():
            self.queue.add(key)
        self._tasks = [asyncio.create_task(self._work(reconciler)) for _ in range(settings.workers)]
        self._tasks.append(asyncio.create_task(self._resync_for_ever(cluster)))
        self._tasks.append(asyncio.create_task(self.poller.run()))

    async def stop(self) -> None:
        """Ends the workers; what they had begun is taken up by the next operator."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._cluster is not None:
            await self._cluster.close()

    def see(self, kind: Kind, event: str | None, body: Any) -> None:
        """Takes a watch event in."""
        view = _view(kind, body)
        if view is None:
            return
        key = self.cache.remove(kind, view) if event == "DELETED" else self.cache.put(kind, view)
        if key is None:
            return
        if kind is POD:
            self.queue.add_after(key, GATHERING)
        else:
            self.queue.add(key)

    def resync_age(self) -> float | None:
        """Seconds since the last complete list, or None before the first, as on a standby."""
        return None if self._last_resync is None else time.monotonic() - self._last_resync

    def health(self) -> str | None:
        """What is wrong with this operator, or None. A standby has nothing to be late with."""
        if not self._tasks:
            return None
        limit = 3 * self._settings.resync_interval
        if self.queue.oldest_age() > 60:
            return f"a job has been waiting for {self.queue.oldest_age():.0f} s to be looked at"
        if (self.resync_age() or 0.0) > limit:
            return f"the last complete list is older than {limit:.0f} s"
        dead = [task for task in self._tasks if task.done()]
        return f"{len(dead)} of {len(self._tasks)} tasks have ended: {_why(dead[0])}" if dead else None

    async def _work(self, reconciler: Reconciler) -> None:
        while True:
            key = await self.queue.get()
            with about(key):
                await self._look(reconciler, key)

    async def _look(self, reconciler: Reconciler, key: Key) -> None:
        try:
            with RECONCILE_SECONDS.time():
                again = await reconciler.reconcile(key)
        except ApiError as error:
            RECONCILE_ERRORS.inc()
            delay = self.queue.failed(key, at_least=error.retry_after)
            log.warning("%s; again in %.1f s", error, delay)
        except Exception:
            RECONCILE_ERRORS.inc()
            delay = self.queue.failed(key)
            log.exception("an error of the operator itself; again in %.1f s", delay)
        else:
            self.queue.done(key)
            if again is not None:
                self.queue.add_after(key, again)

    async def _resync_for_ever(self, cluster: Cluster) -> None:
        """Lists everything now and then, since a watch can lose an event without anybody noticing."""
        while True:
            await asyncio.sleep(self._settings.resync_interval)
            try:
                await self.resync(cluster)
            except Exception:
                log.exception("resync failed; again in %.0f s", RESYNC_RETRY)
                await asyncio.sleep(RESYNC_RETRY)

    async def resync(self, cluster: Cluster) -> None:
        """Lists every watched kind: what a watch has lost is found, what it has brought stays."""
        for kind in KINDS:
            await self._resync_kind(cluster, kind)
        self._last_resync = time.monotonic()

    async def _resync_kind(self, cluster: Cluster, kind: Kind) -> None:
        selector = "" if kind is QLORA_JOB else names.LABEL_JOB
        views: list[View] = []

        def take(items: Iterable[Any]) -> None:
            views.extend(view for item in items if (view := _view(kind, item)) is not None)

        known = self.cache.newest(kind)
        namespaces = self._settings.namespaces or (None,)
        versions = [await cluster.list_pages(kind, namespace, selector, take) for namespace in namespaces]
        if min(versions) < known:
            log.warning("the API server listed %s of an earlier time; left aside", kind.plural)
            return
        for key in self.cache.replace_all(kind, views, before=min(versions)):
            self.queue.add(key)


def _why(task: asyncio.Task[None]) -> str:
    return "cancelled" if task.cancelled() else repr(task.exception())


def _view(kind: Kind, body: Any) -> View | None:
    """The view of an object, or None if it is of no form that we know: one odd object must not stop all jobs."""
    try:
        return kind.view(body)
    except (KeyError, TypeError, ValueError):
        metadata = body.get("metadata", {})
        name = metadata.get("name", "")
        with about((metadata.get("namespace", ""), names.job_of(kind.name, name) or "")):
            log.exception("%s %s cannot be read", kind.name, name)
        return None
