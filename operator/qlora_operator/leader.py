"""Lets one of several replicas work: the one that holds the Lease.

A replica that loses the Lease stops working and exits, to start anew as a standby. One that is stopped gives the Lease
back, so that the next does not wait for it to run out. One that was halted for longer than the Lease lasts, and does
not know it yet, writes nothing any more: see `is_held`. In the moment that is left between that look and the write,
fixed names of children, deletion by UID and the status's resource version keep it from doing harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from qlora_operator.cluster import ApiError, Cluster, JsonObject
from qlora_operator.metrics import LEADER
from qlora_operator.views import LEASE

log = logging.getLogger(__name__)

LEASE_NAME = "qlora-operator"
LEASE_DURATION = 15.0
RENEW_DEADLINE = 10.0
RETRY_PERIOD = 2.0
"""Seconds, all three as in Kubernetes' own controllers."""


class Lease:
    """A Lease that one replica tries to hold.

    Whether another's hold has run out is judged by this replica's own clock: how long it has seen the same renewal.
    Comparing the other's time stamps with this clock would fail when the clocks of two nodes differ.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._seen: tuple[str | None, str | None] | None = None
        self._seen_at = 0.0
        self._held_since: float | None = None

    def is_held(self) -> bool:
        """Whether the Lease is this replica's and has not run out, by this replica's clock."""
        return self._held_since is not None and self._clock() - self._held_since < LEASE_DURATION

    async def try_hold(self) -> bool:
        """Takes or renews the Lease; False if another holds it, or was quicker."""
        asked_at = self._clock()
        is_ours = await self._try_hold()
        if is_ours:
            self._held_since = asked_at
        return is_ours

    async def _try_hold(self) -> bool:
        body = await self._cluster.get(LEASE, self._namespace, LEASE_NAME)
        try:
            if body is None:
                await self._cluster.create(LEASE, self._body(None))
                return True
            if not self._is_free(body.get("spec") or {}):
                return False
            await self._cluster.replace(LEASE, self._body(body))
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        return True

    async def release(self) -> None:
        """Gives the Lease back, if it is ours."""
        body = await self._cluster.get(LEASE, self._namespace, LEASE_NAME)
        if body is None or body["spec"].get("holderIdentity") != self._identity:
            return
        body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        await self._cluster.replace(LEASE, body)

    def _is_free(self, spec: JsonObject) -> bool:
        holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
        if not holder or holder == self._identity:
            return True
        if self._seen != (holder, renewed):
            self._seen, self._seen_at = (holder, renewed), self._clock()
        duration: float = spec.get("leaseDurationSeconds", LEASE_DURATION)
        return self._clock() - self._seen_at > duration

    def _body(self, before: JsonObject | None) -> JsonObject:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict((before or {}).get("spec") or {})
        if spec.get("holderIdentity") != self._identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = spec.get("leaseTransitions", 0) + (before is not None)
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": int(LEASE_DURATION), "renewTime": now}
        metadata = (before or {}).get("metadata") or {"name": LEASE_NAME, "namespace": self._namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


async def lead(lease: Lease, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Waits for the Lease, works until the work ends or the Lease is lost, and gives it back.

    Returns:
        Whether the work ended by itself; False if the Lease was lost.
    """
    while not await _holds(lease):  # noqa: ASYNC110 - the Lease is not ours to be told of
        await asyncio.sleep(RETRY_PERIOD)
    log.info("this replica leads")
    LEADER.set(1)
    task = asyncio.create_task(work())
    held_at = time.monotonic()
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=RETRY_PERIOD)
            if await _holds(lease):
                held_at = time.monotonic()
            elif time.monotonic() - held_at > RENEW_DEADLINE:
                log.error("the Lease is lost; this replica stops")
                task.cancel()
                await asyncio.wait({task})
                return False
        await task
        return True
    finally:
        LEADER.set(0)
        with suppress(ApiError, TimeoutError):
            await lease.release()


async def _holds(lease: Lease) -> bool:
    try:
        return await asyncio.wait_for(lease.try_hold(), RENEW_DEADLINE / 2)
    except (ApiError, TimeoutError) as error:
        log.warning("the Lease cannot be read or written: %s", error)
        return False
