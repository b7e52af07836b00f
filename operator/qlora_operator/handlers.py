"""What Kopf calls: events of the watched kinds go into the cache and the queue, and nothing else happens here.

Kopf's stateful handlers, timers and indices are not used: an event handler writes nothing into the resource
and needs no finalizer, and the queue retries where Kopf would drop.
"""

from __future__ import annotations

from typing import Any

import kopf

from qlora_api import names
from qlora_operator.controller import Controller
from qlora_operator.views import KINDS, QLORA_JOB, Kind


def build_registry(controller: Controller) -> kopf.OperatorRegistry:
    """A registry with all handlers, bound to one controller."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure_kopf(settings)
        await controller.start()

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await controller.stop()

    @kopf.on.login(registry=registry)
    async def login(**arguments: Any) -> Any:
        return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)

    for kind in KINDS:
        _watch(registry, controller, kind)
    return registry


def _watch(registry: kopf.OperatorRegistry, controller: Controller, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"see-{kind.plural}")
    async def see(event: Any, **_: Any) -> None:
        controller.see(kind, event["type"], event["object"])


class _NothingToCompare(kopf.DiffBaseStorage):
    """Spares Kopf a deep copy of each object that it sees: no handler of ours looks at what has changed."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keeps nothing."""


def configure_kopf(settings: kopf.OperatorSettings) -> None:
    """Watches survive silence and restarts, and list only what carries our label."""
    for kind in KINDS:
        if kind is not QLORA_JOB:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = names.LABEL_JOB
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.queueing.idle_timeout = 0.1  # until then an object stays in memory as a whole
    settings.persistence.diffbase_storage = _NothingToCompare()
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.posting.enabled = False
