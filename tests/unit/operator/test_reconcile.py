"""One look at one job, with an API server that answers as the test says."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from builders import Body, batch_job_body, child_body, ended, job_body, pod_body, stored
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.progress import ProgressPoller
from qlora_operator.reconcile import Reconciler
from qlora_operator.views import KIND_BY_NAME
from support.http_api import cluster, failure

KEY = ("default", "job")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS = PodDefaults(image="trainer:1", image_pull_policy="IfNotPresent", termination_grace_period=60)
BEGIN = "2025-12-31T23:59:00Z"
RUNNING: Body = {"phase": "Running", "startTime": BEGIN, "attempts": [{"number": 1, "startTime": BEGIN}]}
CHILDREN = [child_body("Service", "job"), child_body("ConfigMap", "job-1", uid="c")]


class Server:
    """Lists the pods that it is given, refuses what it is told to, and keeps the requests."""

    def __init__(self, pods: list[Body], refused: dict[str, web.Response] | None = None) -> None:
        self.requests: list[str] = []
        self.statuses: list[Body] = []
        self.again: list[float | None] = []
        self._pods = pods
        self._refused = refused or {}

    async def look(self, *known: Body, times: int = 1) -> Cache:
        """Reconciles the job, with a cache that knows these objects."""
        cache = Cache()
        for body in known:
            kind = KIND_BY_NAME[body["kind"]]
            cache.put(kind, kind.view(body))
        async with cluster(self._answer) as client:
            poller = ProgressPoller(1, 1, lambda _: None)
            reconciler = Reconciler(client, cache, poller, DEFAULTS, clock=lambda: NOW)
            for _ in range(times):
                self.again.append(await reconciler.reconcile(KEY))
        return cache

    def _answer(self, request: web.Request, body: bytes) -> web.Response:
        resource = request.path.split("/namespaces/default/")[1].split("/")[0]
        asked = f"{request.method} {resource}"
        self.requests.append(asked)
        if asked in self._refused:
            return self._refused[asked]
        content: Any = json.loads(body) if body else {}
        if asked == "GET pods":
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": self._pods})
        if asked == "PATCH qlorajobs":
            self.statuses.append(content["status"])
            return web.json_response(stored(job_body(), version=9, status=content["status"]))
        if request.method == "POST":
            content["metadata"] |= {"uid": f"uid-of-{resource}", "resourceVersion": "5"}
        return web.json_response(content)


def failed(index: int, reason: str) -> Body:
    words = {"outcome": "Failed", "reason": reason, "message": "why"}
    return pod_body(index, trainer=ended(1, words), phase="Failed", version=5)


def resource(status: Body) -> Body:
    return stored(job_body(), status=status)


async def test_the_cause_of_a_failure_is_looked_for_in_the_pods_as_they_are_now() -> None:
    server = Server([failed(0, "GPUOutOfMemory"), failed(1, "PeerLost")])
    await server.look(resource(RUNNING), *CHILDREN, batch_job_body("FailureTarget"), pod_body(0), failed(1, "PeerLost"))
    assert server.requests[:2] == ["GET pods", "PATCH qlorajobs"]
    assert server.statuses[0]["attempts"][0]["reason"] == "GPUOutOfMemory"


async def test_what_follows_from_a_write_is_looked_at_at_once() -> None:
    server = Server([])
    await server.look(resource({}), times=2)
    assert server.requests.count("PATCH qlorajobs") == 1
    assert server.again[0] == 0
    assert server.again[1] != 0


async def test_last_words_that_the_watch_has_not_told_are_read() -> None:
    words = {"outcome": "Succeeded", "step": 60, "of": 60}
    server = Server([pod_body(0, trainer=ended(0, words), phase="Succeeded", version=5)])
    await server.look(resource(RUNNING), *CHILDREN, batch_job_body("Complete"), pod_body(0), pod_body(1))
    assert server.statuses[0]["progress"]["position"] == "60/60"


async def test_last_words_that_are_known_cost_no_request() -> None:
    known = pod_body(0, trainer=ended(0, {"outcome": "Succeeded", "step": 1, "of": 1}), phase="Succeeded")
    server = Server([])
    await server.look(resource(RUNNING), *CHILDREN, batch_job_body("Complete"), known)
    assert server.requests == ["PATCH qlorajobs", "POST events"]


@pytest.mark.parametrize("pod", [pod_body(0), failed(0, "TrainerFailed")])
async def test_an_attempt_that_has_ended_has_its_pods_read_no_more(pod: Body) -> None:
    attempt = {"number": 1, "startTime": BEGIN, "completionTime": BEGIN, "reason": "TrainerFailed", "message": "why"}
    server = Server([])
    await server.look(
        resource({**RUNNING, "phase": "Restarting", "attempts": [attempt]}), batch_job_body("Failed"), pod
    )
    assert "GET pods" not in server.requests


@pytest.mark.parametrize(
    ("found", "reason", "accepted"),
    [
        (child_body("Service", "job", owner_uid="earlier", job_uid="earlier"), "PredecessorLeaves", "True"),
        (child_body("Service", "job", owner_uid="somebody", job_uid="earlier"), "NameConflict", "False"),
        (child_body("Service", "job", owner_uid="earlier", job_uid="earlier", job="other"), "NameConflict", "False"),
    ],
)
async def test_what_a_deleted_job_of_the_same_name_leaves_is_waited_for(
    found: Body, reason: str, accepted: str
) -> None:
    refused = {"POST services": failure(409, "AlreadyExists"), "GET services": web.json_response(found)}
    server = Server([], refused=refused)
    await server.look(resource({}))
    conditions = {condition["type"]: condition for condition in server.statuses[0]["conditions"]}
    assert conditions["Accepted"]["status"] == accepted
    assert conditions["Running"]["reason"] == reason
    assert ("DELETE configmaps" in server.requests) == (accepted == "False"), "what is accepted stays"


async def test_what_is_known_of_a_job_is_never_changed_in_place() -> None:
    known = [resource(RUNNING), *CHILDREN, batch_job_body("Failed"), failed(0, "TrainerFailed"), pod_body(1)]
    before = copy.deepcopy(known)
    server = Server([])
    await server.look(*known)
    assert server.statuses, "the job has failed, and that was written"
    assert known == before


async def test_a_job_that_is_gone_is_forgotten_and_not_told_of() -> None:
    server = Server([], refused={"PATCH qlorajobs": failure(404, "NotFound")})
    cache = await server.look(resource(RUNNING))
    assert server.requests == ["PATCH qlorajobs"], "no Event about a job that nobody can look at"
    assert cache.resource(KEY) is None


async def test_a_job_in_a_namespace_that_goes_away_is_left_alone_after_one_refusal() -> None:
    words = "configmaps is forbidden: unable to create new content in namespace default because it is being terminated"
    children = [f"POST {plural}" for plural in ("configmaps", "jobs", "services")]
    server = Server([], refused={child: failure(403, "Forbidden", message=words) for child in children})
    await server.look(resource({}), times=3)
    assert sorted(server.requests) == children
