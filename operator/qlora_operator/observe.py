"""Puts together what is known of one job."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from qlora_api import names
from qlora_api.spec import QLoRAJobSpec
from qlora_api.status import Phase, QLoRAJobStatus
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.plan import Heard, Observation
from qlora_operator.views import JobView, Key, PodView, ResourceView

FINAL = frozenset(phase for phase in Phase if phase.is_final)
WITHOUT_PODS = FINAL | {Phase.SUSPENDED}
"""Phases of jobs that wait for no pod."""


def observe(
    cache: Cache,
    key: Key,
    heard: Heard | None,
    defaults: PodDefaults,
    now: datetime,
    lost_nodes: frozenset[str] = frozenset(),
    queue_words: str | None = None,
) -> Observation | None:
    """The job as the cache knows it, or None if it is gone or going.

    Children count only if they carry this very job's UID: an earlier job of the same name may still be leaving.
    """
    resource = cache.resource(key)
    if resource is None or resource.metadata.deleting:
        return None
    status = QLoRAJobStatus.model_validate(resource.status, extra="ignore")
    attempt = status.attempts[-1].number if status.attempts else 1
    uid = resource.metadata.uid
    jobs = [job for job in cache.jobs(key) if job.metadata.owner_uid == uid]
    job = next((job for job in jobs if job.metadata.attempt == attempt), None)
    pods = sorted(cache.pods(key), key=lambda pod: pod.completion_index)
    spec, error = _parse_spec(resource.spec)
    return Observation(
        resource=resource,
        status=status,
        spec=spec,
        spec_error=error,
        attempt=attempt,
        job=job,
        jobs=tuple(jobs),
        pods=tuple(pod for pod in pods if pod.job_uid == uid and pod.metadata.attempt == attempt),
        departed_pods=_departed(cache, key, uid, attempt, status),
        older_pods=tuple(
            pod for pod in pods if pod.job_uid == uid and pod.metadata.attempt != attempt and not pod.finished
        ),
        predecessor_pods=tuple(pod for pod in pods if pod.job_uid != uid),
        lost_nodes=lost_nodes,
        existing=cache.children(key, uid),
        output_user=None if status.attempts else _output_user(cache, resource),
        heard=heard if heard is not None and heard.progress.attempt == attempt else None,
        queue_words=queue_words,
        defaults=defaults,
        now=now,
    )


def queued_job(cache: Cache, key: Key) -> JobView | None:
    """The Job that waits in a queue, if one does."""
    return next((job for job in cache.jobs(key) if job.queue is not None and job.suspended and job.is_live), None)


def silent_nodes(cache: Cache, key: Key) -> frozenset[str]:
    """Nodes of pods that look as they do when their node does not answer: training and not ready, or leaving.

    None of a job that wants no pods: nothing follows from the loss of a node on which its last pod is stuck.
    """
    resource = cache.resource(key)
    if resource is None or resource.metadata.deleting or resource.status.get("phase") in WITHOUT_PODS:
        return frozenset()
    return frozenset(pod.node for pod in cache.pods(key) if pod.node is not None and _looks_silent(pod))


def _departed(cache: Cache, key: Key, uid: str, attempt: int, status: QLoRAJobStatus) -> tuple[PodView, ...]:
    """An attempt that a queue has interrupted goes on under its number: what went before is not counted."""
    since = status.attempts[-1].start_time if status.attempts else ""
    return tuple(
        pod
        for pod in cache.departed_pods(key)
        if (pod.job_uid, pod.metadata.attempt) == (uid, attempt) and pod.deletion_requested_at >= since
    )


def _output_user(cache: Cache, resource: ResourceView) -> str | None:
    """Of two that have not started, the older one has the folder."""
    destination = _destination(resource)
    for other in cache.resources():
        if other.key == resource.key or other.metadata.namespace != resource.metadata.namespace:
            continue
        phase = other.status.get("phase")
        if other.metadata.deleting or phase in FINAL or destination is None or _destination(other) != destination:
            continue
        if phase not in (None, Phase.PENDING) or _age(other) < _age(resource):
            return other.metadata.name
    return None


def _destination(resource: ResourceView) -> str | None:
    destination: str | None = (resource.spec.get("output") or {}).get("destination")
    return destination


def _age(resource: ResourceView) -> tuple[str, str]:
    return resource.created_at, resource.metadata.uid


def _looks_silent(pod: PodView) -> bool:
    trainer = pod.container(names.TRAINER_CONTAINER)
    trains_unready = trainer is not None and trainer.running and not pod.ready
    return not pod.finished and not pod.forced and (trains_unready or pod.metadata.deleting)


def _parse_spec(spec: object) -> tuple[QLoRAJobSpec | None, str]:
    try:
        return QLoRAJobSpec.model_validate(spec), ""
    except ValidationError as error:
        faults = [f"spec.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        return None, "; ".join(faults)
