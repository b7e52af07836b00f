"""What is left to do about a job that has ended."""

from __future__ import annotations

from qlora_api.durations import parse_duration
from qlora_api.status import Phase
from qlora_operator.plan.types import Decision, Observation
from qlora_operator.views import JobView


def clean_up_finished(observation: Observation) -> Decision | None:
    """Deletes pods as `cleanPods` says, and the job itself after `ttlAfterFinished`. The status stays as it is."""
    if observation.spec is None:
        return None
    phase = Phase(observation.status.phase or Phase.FAILED)
    time_to_live = observation.spec.run_policy.ttl_after_finished
    left = None
    if time_to_live is not None:
        left = parse_duration(time_to_live) - observation.age_of(observation.status.completion_time)
        if left <= 0:
            return Decision(phase, "TtlAfterFinished", "", delete_resource=True)
    jobs = _jobs_to_delete(observation)
    if left is None and not jobs:
        return None
    return Decision(phase, "Finished", "", delete_jobs=jobs, requeue_after=left)


def _jobs_to_delete(observation: Observation) -> tuple[JobView, ...]:
    """Deleting a Job deletes its pods and their logs; a Job that has ended by itself keeps both."""
    assert observation.spec is not None
    match observation.spec.run_policy.clean_pods:
        case "All":
            return tuple(job for job in observation.jobs if not job.metadata.deleting)
        case "Running":
            return observation.live_jobs
        case _:
            return ()
