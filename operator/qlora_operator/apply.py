"""Creates children. Each has a fixed name and is only ever created, so doing it twice does no harm."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from qlora_api import names
from qlora_operator.builders import Manifest
from qlora_operator.cache import Cache
from qlora_operator.cluster import ApiError, Cluster, JsonObject
from qlora_operator.plan.start import PREDECESSOR_LEAVES
from qlora_operator.views import KIND_BY_NAME, Key, Metadata

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The job is going away with its namespace: it is as good as deleted, and there is nobody left to tell."""


@dataclass(frozen=True)
class Problem:
    """Why a child cannot exist as it should."""

    reason: str
    message: str


async def create_children(
    cluster: Cluster, cache: Cache, manifests: tuple[Manifest, ...], *, rehearse: bool
) -> Problem | None:
    """Creates all side by side; one that exists already and is ours counts as created.

    Args:
        rehearse: first see whether all could be created. After a refusal, nothing is made only to be withdrawn.

    Returns:
        Why one cannot be created. Others may have been created beside it: see `withdraw_children`.

    Raises:
        ApiError: the API server is busy or unreachable; try the whole again.
    """
    if rehearse:
        problem = await _create_all(cluster, cache, manifests, dry_run=True)
        if problem is not None:
            return problem
    return await _create_all(cluster, cache, manifests, dry_run=False)


async def withdraw_children(cluster: Cluster, cache: Cache, key: Key, owner_uid: str, attempt: int) -> None:
    """Deletes what there is of an attempt of which something was refused.

    Its pods could not work, and a ConfigMap that stayed would hold on to a spec that may be corrected now.
    """
    for kind, view in cache.owned(key, owner_uid):
        metadata = view.metadata
        if metadata.attempt in (attempt, None):
            await cluster.delete(kind, metadata.namespace, metadata.name, metadata.uid)
            cache.remove(kind, view)


async def _create_all(
    cluster: Cluster, cache: Cache, manifests: tuple[Manifest, ...], *, dry_run: bool
) -> Problem | None:
    # The Job, which is the last, goes first: its pods take the longest to come.
    creations = (_create(cluster, cache, manifest, dry_run=dry_run) for manifest in reversed(manifests))
    outcomes = await asyncio.gather(*creations, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if errors:
        raise errors[0]
    return next((outcome for outcome in outcomes if isinstance(outcome, Problem)), None)


def _refusal(message: str) -> str:
    """One word for the API server's sentence."""
    if "exceeded quota" in message:
        return "QuotaExceeded"
    if "cannot create resource" in message:
        return "PermissionDenied"
    return NAMESPACE_TERMINATING if "because it is being terminated" in message else "ChildRefused"


async def _create(cluster: Cluster, cache: Cache, manifest: Manifest, *, dry_run: bool) -> Problem | None:
    kind = KIND_BY_NAME[manifest["kind"]]
    metadata = manifest["metadata"]
    try:
        body = await cluster.create(kind, manifest, dry_run=dry_run)
        if dry_run:
            return None
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
        if _belongs_to_predecessor(body, view.metadata, metadata["labels"][names.LABEL_JOB]):
            message = f"{kind.name} {metadata['name']} of the deleted QLoRAJob of the same name is not yet gone"
            return Problem(PREDECESSOR_LEAVES, message)
        return Problem(
            "NameConflict",
            f"{kind.name} {metadata['name']} exists and belongs to something else; "
            "delete it, or give the QLoRAJob another name",
        )
    cache.put(kind, view)
    return None


def _belongs_to_predecessor(body: JsonObject, found: Metadata, job: str) -> bool:
    """Whether this operator made it for an earlier job of that name, and its owner still has it collected."""
    made_for = (body["metadata"].get("labels") or {}).get(names.LABEL_JOB_UID)
    return found.job == job and found.owner_uid is not None and found.owner_uid == made_for
