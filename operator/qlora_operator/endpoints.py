"""`/healthz` and `/metrics` of the operator."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from qlora_operator.collectors import JobCollector, OperatorCollector
from qlora_operator.controller import Controller


async def serve(controller: Controller, port: int) -> web.AppRunner:
    """Starts to serve on all addresses; the caller cleans the runner up."""

    async def healthz(_: web.Request) -> web.Response:
        fault = controller.health()
        return web.Response(text=fault or "ok", status=500 if fault else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    REGISTRY.register(OperatorCollector(controller))
    REGISTRY.register(JobCollector(controller))
    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", metrics)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104
    return runner
