"""Which children an attempt lacks."""

from __future__ import annotations

from qlora_api import names
from qlora_operator.builders import AttemptSpec, Manifest, children
from qlora_operator.plan.types import Observation


def missing_children(observation: Observation, *, with_job: bool) -> tuple[Manifest, ...]:
    """Children to create: all at the start of an attempt, later a Service or ConfigMap that somebody deleted."""
    name = observation.resource.metadata.name
    child_name = names.attempt_name(name, observation.attempt)
    wanted = {("Service", names.service_name(name)), ("ConfigMap", child_name)}
    if with_job:
        wanted.add(("Job", child_name))
    missing = wanted - observation.existing
    if not missing:
        return ()
    assert observation.spec is not None
    attempt = AttemptSpec(
        namespace=observation.resource.metadata.namespace,
        name=name,
        uid=observation.resource.metadata.uid,
        attempt=observation.attempt,
        spec=observation.spec,
        defaults=observation.defaults,
        counted_restarts=observation.status.counted_restarts or 0,
        portion=observation.status.portion,
    )
    return tuple(child for child in children(attempt) if (child["kind"], child["metadata"]["name"]) in missing)
