"""The client against a real HTTP server that answers like the API server."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from qlora_operator.cluster import ApiError, Cluster
from qlora_operator.views import POD, SERVICE
from support.http_api import Handler, cluster, failure


async def test_an_error_carries_status_reason_message_and_the_wish_to_wait() -> None:
    async with cluster(lambda *_: failure(429, "TooManyRequests", **{"Retry-After": "7"})) as client:
        with pytest.raises(ApiError) as caught:
            await client.create(SERVICE, {"metadata": {"namespace": "a", "name": "b"}})
    error = caught.value
    assert (error.status, error.reason, error.message) == (429, "TooManyRequests", "TooManyRequests!")
    assert error.retry_after == 7
    assert not error.is_refusal


async def test_an_answer_that_is_no_json_is_an_error_with_its_text() -> None:
    async with cluster(lambda *_: web.Response(status=502, text="<html>bad gateway")) as client:
        with pytest.raises(ApiError, match="bad gateway"):
            await client.get(SERVICE, "a", "b")


async def test_what_is_not_there_is_none() -> None:
    async with cluster(lambda *_: failure(404, "NotFound")) as client:
        assert await client.get(SERVICE, "a", "b") is None


async def test_a_list_is_read_page_by_page() -> None:
    asked = []

    def handler(request: web.Request, _: bytes) -> web.Response:
        asked.append(dict(request.query))
        following = "" if "continue" in request.query else "more"
        name = "second" if "continue" in request.query else "first"
        return web.json_response(
            {"metadata": {"resourceVersion": "12", "continue": following}, "items": [{"metadata": {"name": name}}]}
        )

    async with cluster(handler) as client:
        items, version = await client.list(POD, None, "qlora.dev/job")
    assert [item["metadata"]["name"] for item in items] == ["first", "second"]
    assert version == 12
    assert asked[1]["continue"] == "more"
    assert {query["labelSelector"] for query in asked} == {"qlora.dev/job"}


async def test_deleting_what_is_gone_is_no_error() -> None:
    async with cluster(lambda *_: failure(404, "NotFound")) as client:
        assert not await client.delete(SERVICE, "a", "b", uid="u")


def conflict_over(uid: str) -> Handler:
    """A server that has an object of that UID and does not delete it."""

    def handler(request: web.Request, _: bytes) -> web.Response:
        return failure(409, "Conflict") if request.method == "DELETE" else web.json_response({"metadata": {"uid": uid}})

    return handler


async def test_deleting_what_has_been_replaced_is_no_error() -> None:
    async with cluster(conflict_over("another")) as client:
        assert not await client.delete(SERVICE, "a", "b", uid="u")


async def test_a_conflict_over_the_object_itself_is_not_taken_for_its_end() -> None:
    async with cluster(conflict_over("u")) as client:
        with pytest.raises(ApiError, match="Conflict"):
            await client.delete(SERVICE, "a", "b", uid="u")


async def test_a_dry_run_says_so_to_the_server() -> None:
    asked = []

    def handler(request: web.Request, _: bytes) -> web.Response:
        asked.append(dict(request.query))
        return web.json_response({})

    async with cluster(handler) as client:
        await client.create(SERVICE, {"metadata": {"namespace": "a", "name": "b"}}, dry_run=True)
    assert asked == [{"dryRun": "All"}]


async def test_a_server_that_does_not_answer_is_an_error_like_others() -> None:
    client = Cluster(ApiClient(Configuration(host="http://127.0.0.1:1")))
    with pytest.raises(ApiError, match="Unreachable") as caught:
        await client.get(SERVICE, "a", "b")
    await client.close()
    assert caught.value.status == 0


async def test_a_deletion_names_the_uid() -> None:
    bodies = []

    def handler(_: web.Request, body: bytes) -> web.Response:
        bodies.append(body)
        return web.json_response({})

    async with cluster(handler) as client:
        await client.delete(SERVICE, "a", "b", uid="u")
    assert json.loads(bodies[0])["preconditions"] == {"uid": "u"}


async def test_an_event_that_is_refused_is_not_an_error() -> None:
    async with cluster(lambda *_: failure(403, "Forbidden")) as client:
        await client.create_event("a", {"reason": "x"})


async def test_a_replica_that_may_not_write_still_reads() -> None:
    asked: list[str] = []

    def answer(request: web.Request, _: bytes) -> web.Response:
        asked.append(request.method)
        return web.json_response({})

    async with cluster(answer) as client:
        forbidden = Cluster(client._client, may_write=lambda: False)
        await forbidden.get(POD, "default", "job-1-0")
        with pytest.raises(ApiError, match="the Lease has run out"):
            await forbidden.delete(POD, "default", "job-1-0", "uid")
    assert asked == ["GET"]
