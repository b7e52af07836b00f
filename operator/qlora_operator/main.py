"""`qlora-operator`: reads the command line and runs Kopf, alone or as the replica that holds the Lease."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import kopf
import uvloop

from qlora_operator import logs
from qlora_operator.cluster import Cluster
from qlora_operator.controller import Controller
from qlora_operator.counting import begin_at_zero
from qlora_operator.endpoints import serve
from qlora_operator.handlers import build_registry
from qlora_operator.leader import Lease, lead
from qlora_operator.metrics import LEADER
from qlora_operator.settings import Settings, parse_arguments


def main() -> None:
    """Runs until SIGTERM."""
    settings = parse_arguments()
    logs.configure(settings.log_format, settings.verbose)
    uvloop.run(run(settings))


async def run(settings: Settings) -> None:
    """Serves /healthz and /metrics at once, and works when it is this replica's turn."""
    controller = Controller(settings)
    begin_at_zero()

    async def work() -> None:
        await kopf.operator(
            registry=build_registry(controller),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
        )

    runner = await serve(controller, settings.port)
    try:
        await _work_when_it_is_our_turn(settings, controller, work)
    finally:
        await runner.cleanup()


async def _work_when_it_is_our_turn(
    settings: Settings, controller: Controller, work: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    if settings.lease_namespace is None:
        LEADER.set(1)
        await work()
        return
    cluster = await Cluster.connect()
    try:
        lease = Lease(cluster, settings.lease_namespace, f"{socket.gethostname()}-{os.getpid()}")
        controller.may_write = lease.is_held
        if not await lead(lease, work):
            raise SystemExit(1)
    finally:
        await cluster.close()
