"""What a plan is made from and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from qlora_api import report
from qlora_api.portion import Portion
from qlora_api.spec import QLoRAJobSpec
from qlora_api.status import Attempt, Phase, QLoRAJobStatus
from qlora_operator.builders import Manifest, PodDefaults
from qlora_operator.times import parse_timestamp
from qlora_operator.views import JobView, PodView, ResourceView


@dataclass(frozen=True)
class Heard:
    """What a pod last told, and for how long it has been telling the same."""

    progress: report.Progress
    silence: float
    """Seconds, between two answers, in which no step was done: a pod that does not answer is not silent."""


@dataclass(frozen=True)
class Observation:
    """A job as it is now, at its current attempt."""

    resource: ResourceView
    status: QLoRAJobStatus
    """What was last written into the resource."""
    spec: QLoRAJobSpec | None
    """None if the resource's spec does not fit the API."""
    spec_error: str
    attempt: int
    """Number of the current attempt: the newest that is recorded, or 1."""
    job: JobView | None
    pods: tuple[PodView, ...]
    """Of the current attempt, in the order of their completion index."""
    departed_pods: tuple[PodView, ...]
    """Of the current attempt, those that were deleted since its pods were asked for."""
    older_pods: tuple[PodView, ...]
    """Of earlier attempts, as far as they have not ended."""
    predecessor_pods: tuple[PodView, ...]
    """Of a deleted job of the same name, also those that have ended."""
    jobs: tuple[JobView, ...]
    """Of all attempts, the current one included."""
    lost_nodes: frozenset[str]
    """Nodes of these pods that do not answer."""
    existing: frozenset[tuple[str, str]]
    """Kind and name of the children that exist."""
    heard: Heard | None
    """What the pod of completion index 0 last told."""
    output_user: str | None
    """Name of another job that writes to the same output, or is about to."""
    queue_words: str | None
    """Why the current attempt's Job waits in its queue, if it does and the queue says it."""
    defaults: PodDefaults
    now: datetime

    @property
    def known_pods(self) -> tuple[PodView, ...]:
        """Those of the current attempt, and those that it has lost."""
        return (*self.pods, *self.departed_pods)

    @property
    def record(self) -> Attempt | None:
        """The record of the current attempt, if it has been written."""
        return self.status.attempts[-1] if self.status.attempts else None

    @property
    def is_open(self) -> bool:
        """Whether the current attempt is recorded and has not ended."""
        return self.record is not None and self.record.completion_time is None

    @property
    def awaits_children(self) -> bool:
        """Whether the current attempt is recorded, as an intent, and its children have not been created."""
        return self.is_open and self.status.phase == Phase.RESTARTING

    @property
    def started(self) -> bool:
        """Whether the current attempt's children have been created and it has not ended."""
        return self.is_open and not self.awaits_children

    @property
    def live_jobs(self) -> tuple[JobView, ...]:
        """Jobs that have pods, or would create some, or stand in a queue."""
        return tuple(job for job in self.jobs if job.is_live or job.holds_place)

    @property
    def progress(self) -> report.Progress | None:
        """The figures that the pod of completion index 0 last told."""
        return self.heard.progress if self.heard else None

    @property
    def first_pod(self) -> PodView | None:
        """The pod of completion index 0; one that is leaving only if no other has taken its place."""
        first = [pod for pod in self.pods if pod.completion_index == 0]
        return min(first, key=lambda pod: pod.metadata.deleting, default=None)

    def age_of(self, time: str | None) -> float:
        """Seconds since a time that is written in the status."""
        return 0.0 if time is None else (self.now - parse_timestamp(time)).total_seconds()


class AttemptChange(StrEnum):
    """What a decision does to the record of attempts."""

    NONE = "none"
    BEGIN = "begin"
    """Record a new attempt."""
    END = "end"
    """Close the current one."""
    RESUME = "resume"
    """Go on with the current one: its pods are asked for now."""


@dataclass(frozen=True)
class Decision:
    """What a policy makes of an observation."""

    phase: Phase
    reason: str
    """One word for programs; the reason of the condition that `phase` is about."""
    message: str
    accepted: bool = True
    """False: the job is refused until its spec or its surroundings change."""
    attempt: AttemptChange = AttemptChange.NONE
    create: bool = False
    """Create the children of the current attempt that are missing, its Job included."""
    withdraw: bool = False
    """Delete what there is of the current attempt, of which the API server has refused a part."""
    delete_jobs: tuple[JobView, ...] = ()
    """Jobs to delete, and their pods with them."""
    force_delete: tuple[PodView, ...] = ()
    """Pods to delete without waiting for their nodes."""
    delete_resource: bool = False
    """Delete the QLoRAJob itself, and all it made with it."""
    pod: str | None = None
    """The pod that failed first."""
    node: str | None = None
    report: report.Termination | None = None
    """Last words of the pod that decided."""
    portion: Portion | None = None
    """What a rank of the next attempt holds at once, if that changes."""
    requeue_after: float | None = None
    """Seconds after which to look again, when no event will tell."""


@dataclass(frozen=True)
class Plan:
    """What to do about a job: first create, then write the status, then delete, then tell.

    What is deleted follows from a status that is already written, so a crash in between loses nothing.
    """

    decision: Decision | None
    """None if the job needs nothing."""
    status: QLoRAJobStatus
    create: tuple[Manifest, ...] = ()
    polls: bool = False
    """Whether the pod of completion index 0 can be asked for its progress."""
    events: tuple[EventNote, ...] = field(default=())

    @property
    def requeue_after(self) -> float | None:
        """Seconds after which to look again."""
        return self.decision.requeue_after if self.decision else None


@dataclass(frozen=True)
class EventNote:
    """A Kubernetes Event to post, once the status is written."""

    type: str
    reason: str
    message: str
