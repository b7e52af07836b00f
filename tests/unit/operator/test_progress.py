"""The poller against real HTTP servers on loopback addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from qlora_api import names, report
from qlora_operator.progress import ProgressPoller

KEY = ("default", "job")


def answer(**fields: Any) -> dict[str, Any]:
    return {"uid": "uid", "attempt": 1, "state": "Training", "step": 3, "of": 9, "updated": 1.0, **fields}


@asynccontextmanager
async def pod(address: str, body: Any) -> AsyncIterator[list[float]]:
    asked: list[float] = []

    async def status(_: web.Request) -> web.StreamResponse:
        asked.append(asyncio.get_running_loop().time())
        if callable(body):
            return web.json_response(body(len(asked)))
        return web.Response(body=body) if isinstance(body, bytes) else web.json_response(body)

    application = web.Application()
    application.add_routes([web.get("/status", status)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, address, names.STATUS_PORT).start()
    yield asked
    await runner.cleanup()


@asynccontextmanager
async def polling(interval: float = 0.05, budget: float = 100) -> AsyncIterator[tuple[ProgressPoller, list[Any]]]:
    news: list[Any] = []
    poller = ProgressPoller(interval, budget, news.append)
    task = asyncio.create_task(poller.run())
    yield poller, news
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_pod_is_asked_and_its_answer_kept() -> None:
    async with pod("127.0.3.1", answer()), polling() as (poller, news):
        poller.watch(KEY, "uid", 1, "127.0.3.1")
        await asyncio.sleep(0.5)
        heard = poller.heard(KEY)
        assert heard is not None
        assert (heard.progress.step, heard.progress.of) == (3, 9)
        assert news == [KEY], "the same answer again is no news"


async def test_memory_that_breathes_is_no_news_of_the_job() -> None:
    def breathing(time: int) -> dict[str, Any]:
        return answer(residentMemoryBytes=10**9 + time, gpuMemoryBytes=10**9 + time, updated=float(time))

    async with pod("127.0.3.12", breathing) as asked, polling() as (poller, news):
        poller.watch(KEY, "uid", 1, "127.0.3.12")
        await asyncio.sleep(0.5)
        figures = poller.figures()[KEY]
        assert figures.progress.resident_memory_bytes == 10**9 + len(asked)
        assert len(asked) > 1
        assert news == [KEY]


async def test_an_answer_of_another_job_or_attempt_is_not_taken() -> None:
    async with pod("127.0.3.2", answer(uid="other")), pod("127.0.3.3", answer(attempt=2)), polling() as (poller, news):
        poller.watch(KEY, "uid", 1, "127.0.3.2")
        poller.watch(("default", "second"), "uid", 1, "127.0.3.3")
        await asyncio.sleep(0.5)
        assert poller.heard(KEY) is None
        assert news == []


def test_a_restart_at_no_date_is_nonsense() -> None:
    """Beyond it, the operator could not write the time into a status, and would fail at each look at the job."""
    restart = {"number": 1, "reason": "TrainerFailed"}
    for time, is_sound in ((1e9, True), (-1, False), (1e12, False), (1e300, False)):
        told = json.dumps({**answer(), "restarts": [{**restart, "time": time}]})
        read = report.Progress.from_untrusted(told, report.PROGRESS_LIMIT)
        assert (read is not None) == is_sound, time


async def test_nonsense_and_floods_are_not_taken() -> None:
    flood = b'{"uid": "' + b"x" * 100_000 + b'"}'
    async with pod("127.0.3.4", b"<html>"), pod("127.0.3.5", flood), polling() as (poller, news):
        poller.watch(KEY, "uid", 1, "127.0.3.4")
        poller.watch(("default", "second"), "uid", 1, "127.0.3.5")
        await asyncio.sleep(0.5)
        assert news == []


async def test_a_forgotten_pod_is_asked_no_more() -> None:
    async with pod("127.0.3.6", answer()) as asked, polling() as (poller, _):
        poller.watch(KEY, "uid", 1, "127.0.3.6")
        await asyncio.sleep(0.5)
        poller.forget(KEY)
        await asyncio.sleep(0.1)
        before = len(asked)
        await asyncio.sleep(0.4)
        assert len(asked) == before > 1


async def test_all_pods_together_stay_within_the_budget() -> None:
    async with pod("127.0.3.7", answer()) as asked, polling(interval=0.01, budget=20) as (poller, _):
        for number in range(10):
            poller.watch(("default", f"job-{number}"), "uid", 1, "127.0.3.7")
        await asyncio.sleep(1.2)
        assert 10 <= len(asked) <= 26


async def test_a_pod_that_does_not_answer_holds_up_no_other() -> None:
    async with pod("127.0.3.8", answer()), polling() as (poller, news):
        poller.watch(("default", "dead"), "uid", 1, "127.0.3.9")
        poller.watch(KEY, "uid", 1, "127.0.3.8")
        await asyncio.sleep(0.6)
        assert news == [KEY]


async def test_silence_is_the_time_in_which_answers_stay_the_same() -> None:
    async with pod("127.0.3.10", answer()), polling() as (poller, _):
        poller.watch(KEY, "uid", 1, "127.0.3.10")
        await asyncio.sleep(0.6)
        heard = poller.heard(KEY)
    assert heard is not None
    assert 0.3 < heard.silence < 0.7
    async with polling() as (poller, _):
        poller.watch(KEY, "uid", 1, "127.0.3.10")
        await asyncio.sleep(0.3)
        assert poller.heard(KEY) is None, "a pod that does not answer is not silent"


async def test_an_evaluation_that_moves_is_neither_silence_nor_news() -> None:
    def evaluating(times: int) -> dict[str, Any]:
        return answer(evaluatedPortions=times)

    async with pod("127.0.3.12", evaluating), polling() as (poller, news):
        poller.watch(KEY, "uid", 1, "127.0.3.12")
        await asyncio.sleep(0.6)
        heard = poller.heard(KEY)
    assert heard is not None
    assert heard.progress.evaluated_portions > 1
    assert heard.silence == 0
    assert news == [KEY]


async def test_a_pod_cannot_send_the_operator_elsewhere() -> None:
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(answer())

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    application = web.Application()
    application.add_routes([web.get("/status", redirect), web.get("/elsewhere", elsewhere)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.3.11", names.STATUS_PORT).start()
    async with polling() as (poller, news):
        poller.watch(KEY, "uid", 1, "127.0.3.11")
        await asyncio.sleep(0.3)
    await runner.cleanup()
    assert (asked, news) == ([], [])
