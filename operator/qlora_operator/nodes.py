"""Asks whether a node answers, when the pods on it look as if it did not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from qlora_operator.cluster import ApiError, Cluster
from qlora_operator.views import NODE, node_is_ready

log = logging.getLogger(__name__)

REMEMBERED = 5.0
"""Seconds for which an answer counts: many pods may be on the same node."""


class Nodes:
    """Readiness of nodes, read one by one and only when needed: watching all nodes would cost far more."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: dict[str, tuple[float, bool]] = {}

    async def lost(self, names: Iterable[str]) -> frozenset[str]:
        """Those of the nodes that do not answer, or are gone."""
        return frozenset([name for name in names if not await self._is_ready(name)])

    async def _is_ready(self, name: str) -> bool:
        now = self._clock()
        self._known = {node: known for node, known in self._known.items() if now - known[0] < REMEMBERED}
        if name not in self._known:
            self._known[name] = (now, await self._ask(name))
        return self._known[name][1]

    async def _ask(self, name: str) -> bool:
        try:
            body = await self._cluster.get(NODE, None, name)
        except ApiError as error:
            if error.status != 403:
                raise
            log.warning(
                "may not read node %s: pods on a lost node are replaced only after Kubernetes gives them up", name
            )
            return True
        return body is not None and node_is_ready(body)
