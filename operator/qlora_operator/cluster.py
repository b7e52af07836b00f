"""The only module that talks to the API server.

Bodies go out and come back as plain dicts: the typed client would refuse or drop fields that it does not know.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, cast
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from qlora_operator.metrics import API_REQUESTS
from qlora_operator.views import Kind

log = logging.getLogger(__name__)

JsonObject = dict[str, Any]

CONNECTIONS = 32
PAGE_SIZE = 500
REQUEST_TIMEOUT = 30.0
MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: HTTP status code, or 0 if there was no answer.
        reason: one word of Kubernetes, such as AlreadyExists or Forbidden.
        message: a sentence.
        retry_after: seconds that the server wants us to wait, or 0.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def is_refusal(self) -> bool:
        """Whether asking again at once cannot help: forbidden, invalid, over quota."""
        return self.status in (400, 403, 422)


class Cluster:
    """Requests to the API server, as the operator's ServiceAccount or as the kubeconfig's user."""

    def __init__(self, client: ApiClient, may_write: Callable[[], bool] = lambda: True) -> None:
        self._client = client
        self._may_write = may_write

    @classmethod
    async def connect(cls, may_write: Callable[[], bool] = lambda: True) -> Self:
        """Connects with the pod's ServiceAccount; outside a cluster, with `KUBECONFIG`.

        Args:
            may_write: asked before each request that is no reading; if not, it fails as if there were no answer.
        """
        configuration = Configuration()
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = CONNECTIONS
        # With trust_env, aiohttp looks for a proxy in a thread of its own before each request.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
        return cls(ApiClient(configuration), may_write)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def create(self, kind: Kind, body: JsonObject, *, dry_run: bool = False) -> JsonObject:
        """Creates an object and returns it as stored; a dry run checks all, quota included, and stores nothing."""
        query = {"dryRun": "All"} if dry_run else None
        return await self._request("POST", kind, kind.path(body["metadata"]["namespace"]), query=query, body=body)

    async def replace(self, kind: Kind, body: JsonObject) -> JsonObject:
        """Replaces an object; a resource version in `body` that is not the newest is a 409."""
        path = kind.path(body["metadata"]["namespace"], body["metadata"]["name"])
        return await self._request("PUT", kind, path, body=body)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        """Reads an object, or None if there is none."""
        try:
            return await self._request("GET", kind, kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(self, kind: Kind, namespace: str | None, label_selector: str = "") -> tuple[list[JsonObject], int]:
        """Reads all objects; returns them with the resource version of the list."""
        items: list[JsonObject] = []
        return items, await self.list_pages(kind, namespace, label_selector, items.extend)

    async def list_pages(
        self, kind: Kind, namespace: str | None, label_selector: str, take: Callable[[Iterable[JsonObject]], None]
    ) -> int:
        """Reads all objects and hands them over page by page; returns the resource version of the list."""
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        while True:
            page = await self._request("GET", kind, kind.path(namespace), query=query)
            take(page["items"])
            if not page["metadata"].get("continue"):
                return int(page["metadata"]["resourceVersion"])
            query["continue"] = page["metadata"]["continue"]

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, grace_period: int | None = None) -> bool:
        """Deletes the object of that UID and what it owns; False if it was gone already, or another has its name.

        Args:
            grace_period: seconds; 0 does not wait for the pod's node.

        Raises:
            ApiError: it could not be deleted; a conflict about that very object included.
        """
        body: JsonObject = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        if grace_period is not None:
            body["gracePeriodSeconds"] = grace_period
        try:
            await self._request("DELETE", kind, kind.path(namespace, name), body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            if error.status != 409:
                raise
            found = await self.get(kind, namespace, name)
            if found is not None and found["metadata"]["uid"] == uid:
                raise
            return False
        return True

    async def patch_status(self, kind: Kind, namespace: str, name: str, patch: JsonObject) -> JsonObject:
        """Merges `patch` into the object's status; the patch should carry `metadata.resourceVersion`."""
        path = kind.path(namespace, name) + "/status"
        return await self._request("PATCH", kind, path, body=patch, content_type=MERGE_PATCH)

    async def create_event(self, namespace: str, body: JsonObject) -> None:
        """Posts an Event; a refusal is logged and no more, since Events are for reading only."""
        path = f"/api/v1/namespaces/{namespace}/events"
        try:
            await self._send("POST", "events", path, body=body)
        except ApiError as error:
            log.warning("event %s was not accepted: %s", body.get("reason"), error)

    async def _request(self, method: str, kind: Kind, path: str, **arguments: Any) -> JsonObject:
        return await self._send(method, kind.plural, path, **arguments)

    async def _send(
        self,
        method: str,
        resource: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        if method != "GET" and not self._may_write():
            raise ApiError(0, "NotLeading", "the Lease has run out; this replica writes nothing")
        method, url, headers, _, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        code = "error"
        try:
            response = await self._client.call_api(
                method, url, headers, body, _request_timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
            )
            data = await response.read()
            code = str(response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, "Unreachable", f"{type(error).__name__}: {error}") from error
        finally:
            API_REQUESTS.labels(verb=method, resource=resource, code=code).inc()
        if response.status >= 400:
            raise _error(response.status, response.getheader("Retry-After"), data)
        return cast(JsonObject, json.loads(data))


def _error(status: int, retry_after: str | None, data: bytes) -> ApiError:
    try:
        details = json.loads(data)
    except ValueError:
        details = {}
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
    if not isinstance(details, dict):
        details = {}
    message = details.get("message") or data[:500].decode(errors="replace")
    return ApiError(status, details.get("reason") or "", message, seconds)
