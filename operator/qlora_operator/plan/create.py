"""Which children an attempt lacks."""

from __future__ import annotations

from qlora_api import names
from qlora_operator.builders import AttemptSpec, Manifest, children
from qlora_operator.plan.types import Observation


def missing_children(observation: Observation) -> tuple[Manifest, ...]:
    """Children to create: all at the start, later a Service or ConfigMap that somebody deleted.

    A Job is created once: a Job that vanished is the end of its attempt.
    """
    name = observation.resource.metadata.name
    child_name = names.attempt_name(name, observation.attempt)
    wanted = {("Service", names.service_name(name)), ("ConfigMap", child_name)}
    if not observation.started:
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
    )
    return tuple(child for child in children(attempt) if (child["kind"], child["metadata"]["name"]) in missing)
