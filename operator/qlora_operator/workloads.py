"""Asks Kueue why a Job waits: the condition of its Workload says it in a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qlora_operator.cluster import ApiError, Cluster
from qlora_operator.views import WORKLOAD, JobView, Key

LABEL_JOB_UID = "kueue.x-k8s.io/job-uid"
REMEMBERED = 25.0
"""Seconds for which an answer counts."""
RATE, BURST = 5.0, 20.0
"""Questions a second over all jobs, and at once: many that wait must not keep the API server busy."""


class Workloads:
    """Reads the Workloads of Jobs that wait, one by one: watching all would need Kueue to be there."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: dict[Key, tuple[float, str]] = {}
        self._allowance, self._counted_at = BURST, clock()

    async def words(self, key: Key, job: JobView | None) -> str | None:
        """Why a QLoRAJob waits, or None if nobody can tell (yet).

        Args:
            key: the QLoRAJob.
            job: its Job that waits; None if it does not wait, and what was heard before counts no more.

        Raises:
            ApiError: the API server is busy or unreachable.
        """
        if job is None:
            self._known.pop(key, None)
            return None
        now = self._clock()
        at, words = self._known.get(key, (None, None))
        if (at is not None and now - at < REMEMBERED) or not self._may_ask(now):
            return words
        words = await self._ask(job)
        if words is not None:
            self._known[key] = now, words
        return words

    def _may_ask(self, now: float) -> bool:
        self._allowance = min(BURST, self._allowance + RATE * (now - self._counted_at))
        self._counted_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    async def _ask(self, job: JobView) -> str | None:
        try:
            selector = f"{LABEL_JOB_UID}={job.metadata.uid}"
            found, _ = await self._cluster.list(WORKLOAD, job.metadata.namespace, selector)
        except ApiError as error:
            if error.status == 404:
                return "this cluster serves no Workloads of Kueue; install Kueue 0.15 or newer, or remove queueName"
            if error.status == 403:
                return None
            raise
        return sentence(found[0]) if found else None


def sentence(workload: dict[str, Any]) -> str | None:
    """What a Workload's conditions say of its wait."""
    status = workload.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    reserved, evicted = conditions.get("QuotaReserved", {}), conditions.get("Evicted", {})
    if reserved.get("status") != "True":
        return reserved.get("message") or None
    if evicted.get("status") == "True":
        return evicted.get("message") or None
    checks = [check.get("message") or check.get("name", "") for check in status.get("admissionChecks") or []]
    return "; ".join(["its quota is reserved", *checks])
