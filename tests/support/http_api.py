"""An HTTP server that answers as a test says, and the operator's client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from qlora_operator.cluster import Cluster

Handler = Callable[[web.Request, bytes], web.Response]
"""Answers a request with its body."""


@asynccontextmanager
async def cluster(handler: Handler) -> AsyncIterator[Cluster]:
    async def handle(request: web.Request) -> web.Response:
        return handler(request, await request.read())

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    client = Cluster(ApiClient(configuration))
    yield client
    await client.close()
    await runner.cleanup()


def failure(status: int, reason: str, message: str = "", **headers: str) -> web.Response:
    body = {"reason": reason, "message": message or f"{reason}!"}
    return web.json_response(body, status=status, headers=headers)
