"""A reverse proxy between operator and API server that does what networks, servers and kernels do.

It numbers the operator's writes and disturbs one of them, or it disturbs all that the operator reads.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from faults.kinds import ANSWERS, ReadFault, WriteFault
from qlora_api import names
from qlora_operator.cluster import REQUEST_TIMEOUT

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
PASSED_TO_SERVER = ("Content-Type", "Accept", "User-Agent")
PASSED_TO_OPERATOR = ("Content-Type", "Retry-After")


@dataclass(frozen=True)
class Write:
    """One write that the operator has tried."""

    method: str
    path: str
    job: str
    """Name of the QLoRAJob that it is about, if that has no dash or dot."""
    at: float
    """Seconds of the monotonic clock."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class FaultProxy:
    """Listens on loopback, from `start` to `stop`; `arm` begins a run.

    Args:
        folder: where the user's certificate lies, with which the proxy speaks to the server.
        kill: ends the operator at once.
    """

    def __init__(self, upstream: str, folder: Path, user: str, kill: Callable[[], None]) -> None:
        self._upstream = upstream
        self._tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._tls.load_cert_chain(str(folder / f"{user}.crt"), str(folder / f"{user}.key"))
        self._kill = kill
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0
        self.log: list[Write] = []
        """Every write since the start."""
        self.fired = False
        """Whether the fault of this run has happened."""
        self._begin = 0
        self._job = ""
        self._write_fault: tuple[int, WriteFault] | None = None
        self._read_fault: ReadFault | None = None
        self._watches: set[aiohttp.ClientResponse] = set()
        self._lists: set[str] = set()
        self._stale: dict[str, bytes] = {}
        self._before: dict[str, bytes] = {}

    @property
    def writes(self) -> list[Write]:
        """The writes of this run: those about its job."""
        return [write for write in self.log[self._begin :] if write.job == self._job]

    @property
    def watched(self) -> int:
        """How many paths are watched through the proxy at this moment."""
        return len({watch.url.path for watch in self._watches})

    def start(self) -> None:
        self._thread.start()
        self._run(self._start())

    def stop(self) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def arm(self, job: str, write_fault: tuple[int, WriteFault] | None, read_fault: ReadFault | None) -> None:
        """Begins a run: the next write about that QLoRAJob is number 0. Watches that are to be disturbed begin anew."""
        self._run(self._arm(job, write_fault, read_fault))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        self._close_watches()
        await self._runner.cleanup()
        await self._session.close()

    async def _arm(self, job: str, write_fault: tuple[int, WriteFault] | None, read_fault: ReadFault | None) -> None:
        self._job = job
        self._begin = len(self.log)
        self.fired = False
        self._write_fault = write_fault
        self._stale = {}
        self._before = {}
        if read_fault != self._read_fault:
            self._read_fault = read_fault
            self._close_watches()

    def _close_watches(self) -> None:
        for watch in self._watches:
            watch.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        body = await request.read()
        if request.method not in WRITES:
            return await self._read(request)
        if "dryRun" in request.query:
            return await self._forward(request, body)
        number = len(self.writes)
        job = _job_of(request, body)
        self.log.append(Write(request.method, request.path, job, time.monotonic()))
        if self._write_fault is None or job != self._job or self._write_fault[0] != number:
            return await self._forward(request, body)
        return await self._disturb(request, body, self._write_fault[1])

    async def _disturb(self, request: web.Request, body: bytes, fault: WriteFault) -> web.StreamResponse:
        self.fired = True
        if fault in ANSWERS:
            code, reason = ANSWERS[fault]
            status = {"kind": "Status", "reason": reason, "message": f"injected {reason}", "code": code}
            headers = {"Retry-After": "1"} if code == 429 else {}
            return web.json_response(status, status=code, headers=headers)
        if fault == WriteFault.KILL_STALE:
            self._stale = {url: await self._get(url) for url in self._lists}
        if fault.comes_after_commit:
            await self._forward(request, body)
        if fault.kills:
            self._kill()
            self._close_watches()
        if fault == WriteFault.TIMEOUT:
            await asyncio.sleep(REQUEST_TIMEOUT + 2)
        if request.transport is not None:  # a killed operator has closed its end already
            request.transport.abort()
        return web.Response()

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        url = self._url(str(request.rel_url))
        async with self._session.request(request.method, url, data=body or None, headers=_headers(request)) as answer:
            data = await answer.read()
            kept = {name: answer.headers[name] for name in PASSED_TO_OPERATOR if name in answer.headers}
            return web.Response(status=answer.status, body=data, headers=kept)

    async def _read(self, request: web.Request) -> web.Response:
        """A stale list lasts until the successor of a killed operator opens the watch that brings it up to date."""
        url = str(request.rel_url)
        if not _is_complete_list(request):
            return await self._forward(request, b"")
        self._lists.add(url)
        if url in self._stale:
            return web.Response(body=self._stale[url], content_type="application/json")
        answer = await self._forward(request, b"")
        if self._read_fault == ReadFault.STALE_LIST and answer.status == 200:
            self.fired = True
            assert isinstance(answer.body, bytes)
            before, self._before[url] = self._before.get(url, answer.body), answer.body
            return web.Response(body=before, content_type="application/json")
        return answer

    async def _get(self, url: str) -> bytes:
        async with self._session.get(self._url(url), headers={"Accept": "application/json"}) as answer:
            return await answer.read()

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._stale = {url: body for url, body in self._stale.items() if urlsplit(url).path != request.path}
        headers = _headers(request) | {"Accept-Encoding": "identity"}  # a compressed stream comes in blocks
        async with self._session.get(self._url(str(request.rel_url)), headers=headers) as answer:
            self._watches.add(answer)
            try:
                response.set_status(answer.status)
                await response.prepare(request)
                with suppress(aiohttp.ClientError, ConnectionError):
                    await self._stream(answer, response)
            finally:
                self._watches.discard(answer)
        return response

    async def _stream(self, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        fault, number = self._read_fault, 0
        async for line in _lines(answer.content):
            number += b'"type":"BOOKMARK"' not in line[:40]
            match fault:
                case ReadFault.GONE if number == 3:
                    self.fired = True
                    await response.write(GONE)
                    return
                case ReadFault.FREEZE if number > 3:
                    self.fired = True
                    continue
                case ReadFault.DROP if number % 2 == 0:
                    self.fired = True
                    continue
                case ReadFault.DELAY:
                    await asyncio.sleep(0.3)
            await response.write(line)
            if fault == ReadFault.DUPLICATE:
                await response.write(line)

    def _url(self, path: str) -> str:
        return f"{self._upstream}{path}"


def _is_complete_list(request: web.Request) -> bool:
    """Whether it is one from which the operator's knowledge begins, and not one that asks how something is just now."""
    return "limit" in request.query and request.query.get("labelSelector", names.LABEL_JOB) == names.LABEL_JOB


GONE = b'{"type":"ERROR","object":{"kind":"Status","reason":"Expired","code":410}}\n'


def _headers(request: web.Request) -> dict[str, str]:
    """An empty body has no type: with one, the server refuses some paths."""
    return {name: request.headers[name] for name in PASSED_TO_SERVER if name in request.headers}


def _job_of(request: web.Request, body: bytes) -> str:
    if request.method == "POST":
        content = json.loads(body)
        about = content["involvedObject"] if content["kind"] == "Event" else content["metadata"]
        name = str(about["name"])
    else:
        *_, name = request.path.removesuffix("/status").split("/")
    return name.partition("-")[0]


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
