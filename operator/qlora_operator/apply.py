"""Creates children. Each has a fixed name and is only ever created, so doing it twice does no harm."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from qlora_operator.builders import Manifest
from qlora_operator.cache import Cache
from qlora_operator.cluster import ApiError, Cluster
from qlora_operator.views import KIND_BY_NAME, Metadata

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The job is going away with its namespace; there is nobody left to tell."""


@dataclass(frozen=True)
class Problem:
    """Why a child cannot exist as it should."""

    reason: str
    message: str


async def create_children(cluster: Cluster, cache: Cache, manifests: tuple[Manifest, ...]) -> Problem | None:
    """Creates all side by side; one that exists already and is ours counts as created.

    If one cannot be created, those that were created beside it are deleted: pods could not work without it, and a
    ConfigMap that stayed would hold on to a spec that may be corrected now.

    Raises:
        ApiError: the API server is busy or unreachable; try the whole again.
    """
    outcomes = await asyncio.gather(
        *(_create(cluster, cache, manifest) for manifest in manifests), return_exceptions=True
    )
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if errors:
        raise errors[0]
    problem = next((outcome for outcome in outcomes if isinstance(outcome, Problem)), None)
    if problem is not None:
        for manifest, outcome in zip(manifests, outcomes, strict=True):
            if isinstance(outcome, Metadata):
                kind = KIND_BY_NAME[manifest["kind"]]
                await cluster.delete(kind, outcome.namespace, outcome.name, outcome.uid)
    return problem


def _refusal(message: str) -> str:
    """One word for the API server's sentence."""
    if "exceeded quota" in message:
        return "QuotaExceeded"
    return NAMESPACE_TERMINATING if "because it is being terminated" in message else "ChildRefused"


async def _create(cluster: Cluster, cache: Cache, manifest: Manifest) -> Metadata | Problem:
    kind = KIND_BY_NAME[manifest["kind"]]
    metadata = manifest["metadata"]
    try:
        body = await cluster.create(kind, manifest)
    except ApiError as error:
        if error.is_refusal:
            return Problem(_refusal(error.message), error.message)
        if error.status != 409:
            raise
        found = await cluster.get(kind, metadata["namespace"], metadata["name"])
        if found is None:
            raise
        body = found
    view = kind.view(body)
    if view.metadata.owner_uid != metadata["ownerReferences"][0]["uid"]:
        return Problem(
            "NameConflict",
            f"{kind.name} {metadata['name']} exists and belongs to something else; "
            "delete it, or give the QLoRAJob another name",
        )
    cache.put(kind, view)
    return view.metadata
