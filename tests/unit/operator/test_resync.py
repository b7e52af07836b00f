"""The periodic complete lists, with an API server that answers as the test says."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from builders import job_body, stored
from qlora_operator.controller import Controller
from qlora_operator.settings import parse_arguments
from qlora_operator.views import QLORA_JOB
from support.http_api import cluster

KEY = ("default", "job")


async def test_a_list_from_an_earlier_time_brings_nothing_back() -> None:
    controller = Controller(parse_arguments([]))
    body = stored(job_body(), version=5)
    controller.see(QLORA_JOB, "ADDED", body)
    controller.see(QLORA_JOB, "DELETED", stored(job_body(), version=9))

    def earlier(request: web.Request, _: bytes) -> web.Response:
        listed: list[Any] = [body] if request.path.endswith("qlorajobs") else []
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": listed})

    async with cluster(earlier) as client:
        await controller.resync(client)
    assert controller.cache.resource(KEY) is None


async def test_a_list_heals_what_the_watch_has_lost() -> None:
    controller = Controller(parse_arguments([]))
    controller.see(QLORA_JOB, "ADDED", stored(job_body(), version=5))

    def empty(_: web.Request, __: bytes) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})

    async with cluster(empty) as client:
        await controller.resync(client)
    assert controller.cache.resource(KEY) is None
