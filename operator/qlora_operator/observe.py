"""Puts together what is known of one job."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from qlora_api import report
from qlora_api.spec import QLoRAJobSpec
from qlora_api.status import QLoRAJobStatus
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.plan import Observation
from qlora_operator.views import Key


def observe(
    cache: Cache, key: Key, progress: report.Progress | None, defaults: PodDefaults, now: datetime
) -> Observation | None:
    """The job as the cache knows it, or None if it is gone or going.

    Children count only if they carry this very job's UID: an earlier job of the same name may still be leaving.
    """
    resource = cache.resource(key)
    if resource is None or resource.metadata.deleting:
        return None
    status = QLoRAJobStatus.model_validate(resource.status, extra="ignore")
    attempt = max(1, len(status.attempts))
    uid = resource.metadata.uid
    job = next(
        (job for job in cache.jobs(key) if job.metadata.owner_uid == uid and job.metadata.attempt == attempt),
        None,
    )
    pods = [
        pod
        for pod in cache.pods(key)
        if job is not None and pod.metadata.owner_uid == job.metadata.uid and pod.metadata.attempt == attempt
    ]
    spec, error = _parse_spec(resource.spec)
    return Observation(
        resource=resource,
        status=status,
        spec=spec,
        spec_error=error,
        attempt=attempt,
        job=job,
        pods=tuple(sorted(pods, key=lambda pod: pod.completion_index)),
        existing=cache.children(key, uid),
        progress=progress if progress is not None and progress.attempt == attempt else None,
        defaults=defaults,
        now=now,
    )


def _parse_spec(spec: object) -> tuple[QLoRAJobSpec | None, str]:
    try:
        return QLoRAJobSpec.model_validate(spec), ""
    except ValidationError as error:
        faults = [f"spec.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        return None, "; ".join(faults)
