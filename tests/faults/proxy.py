"""A reverse proxy between operator and API server that does what networks, servers and kernels do.

It numbers the operator's writes, and disturbs one of them; or it disturbs the events of one watch.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import aiohttp
from aiohttp import web

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Fault(StrEnum):
    """What happens to a write."""

    KILL_BEFORE = "operator killed before the write"
    KILL_AFTER = "operator killed after the write, before the answer"
    RESET_BEFORE = "connection reset before the write"
    RESET_AFTER = "write done, answer lost"
    CONFLICT = "409"
    TOO_MANY = "429"
    ERROR = "500"
    UNAVAILABLE = "503"


CODES = {Fault.CONFLICT: 409, Fault.TOO_MANY: 429, Fault.ERROR: 500, Fault.UNAVAILABLE: 503}


class WatchFault(StrEnum):
    """What happens to the events of the watches."""

    DROP = "every second event lost"
    DUPLICATE = "every event twice"
    DELAY = "every event 0.3 s late"
    GONE = "410 Gone after the third event"


@dataclass
class Write:
    """One write that the operator has tried."""

    method: str
    path: str


class FaultProxy:
    """Listens on loopback; `start` and `stop` it. Its attributes may be changed between two runs."""

    def __init__(self, upstream: str, folder: Path, user: str, kill: Callable[[], None]) -> None:
        self._upstream = upstream
        self._tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._tls.load_cert_chain(str(folder / f"{user}.crt"), str(folder / f"{user}.key"))
        self._kill = kill
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0
        self.writes: list[Write] = []
        self.fault: tuple[int, Fault] | None = None
        self.watch_fault: WatchFault | None = None

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def arm(self, fault: tuple[int, Fault] | None = None, watch_fault: WatchFault | None = None) -> None:
        """Begins a run: the next write is number 0."""
        self.writes = []
        self.fault = fault
        self.watch_fault = watch_fault

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        body = await request.read()
        if request.method not in WRITES:
            return await self._forward(request, body)
        number = len(self.writes)
        self.writes.append(Write(request.method, request.path))
        if self.fault is None or self.fault[0] != number:
            return await self._forward(request, body)
        return await self._disturb(request, body, self.fault[1])

    async def _disturb(self, request: web.Request, body: bytes, fault: Fault) -> web.StreamResponse:
        if fault in CODES:
            status = {"kind": "Status", "reason": "Injected", "message": f"injected {fault}", "code": CODES[fault]}
            headers = {"Retry-After": "1"} if fault == Fault.TOO_MANY else {}
            return web.json_response(status, status=CODES[fault], headers=headers)
        if fault in (Fault.KILL_AFTER, Fault.RESET_AFTER):
            await self._forward(request, body)
        if fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER):
            self._kill()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        async with self._session.request(
            request.method, self._url(request), data=body, headers=_headers(request)
        ) as answer:
            data = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name in ("Content-Type", "Retry-After")}
            return web.Response(status=answer.status, body=data, headers=kept)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._url(request), headers=_headers(request), timeout=timeout) as answer:
            await response.prepare(request)
            number = 0
            async for line in _lines(answer.content):
                if b'"type":"BOOKMARK"' not in line[:40]:
                    number += 1
                for piece in await self._bent(line, number):
                    await response.write(piece)
        return response

    async def _bent(self, line: bytes, number: int) -> list[bytes]:
        """What comes through of one event."""
        match self.watch_fault:
            case WatchFault.DROP if number % 2 == 0:
                return []
            case WatchFault.DUPLICATE:
                return [line, line]
            case WatchFault.DELAY:
                await asyncio.sleep(0.3)
            case WatchFault.GONE if number == 3:
                return [b'{"type":"ERROR","object":{"kind":"Status","reason":"Expired","code":410}}\n']
        return [line]

    def _url(self, request: web.Request) -> str:
        return f"{self._upstream}{request.rel_url}"


def _headers(request: web.Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name in ("Content-Type", "Accept", "User-Agent")}


async def _lines(content: aiohttp.StreamReader):  # type: ignore[no-untyped-def]
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
