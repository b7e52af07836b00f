"""What a plan is made from and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from qlora_api import report
from qlora_api.spec import QLoRAJobSpec
from qlora_api.status import Phase, QLoRAJobStatus
from qlora_operator.builders import Manifest, PodDefaults
from qlora_operator.views import JobView, PodView, ResourceView


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
    job: JobView | None
    pods: tuple[PodView, ...]
    """In the order of their completion index."""
    existing: frozenset[tuple[str, str]]
    """Kind and name of the children that exist."""
    progress: report.Progress | None
    """What the pod of completion index 0 last told."""
    defaults: PodDefaults
    now: datetime

    @property
    def started(self) -> bool:
        """Whether the current attempt has been recorded."""
        return len(self.status.attempts) >= self.attempt


@dataclass(frozen=True)
class Decision:
    """What a policy makes of an observation."""

    phase: Phase
    reason: str
    """One word for programs; the reason of the condition that `phase` is about."""
    message: str
    accepted: bool = True
    """False: the job is refused until its spec or its surroundings change."""
    pod: str | None = None
    """The pod that failed first."""
    node: str | None = None
    report: report.Termination | None = None
    """Last words of the pod that decided."""
    requeue_after: float | None = None
    """Seconds after which to look again, when no event will tell."""


@dataclass(frozen=True)
class Plan:
    """What to do about a job."""

    status: QLoRAJobStatus
    create: tuple[Manifest, ...] = ()
    requeue_after: float | None = None
    polls: bool = False
    """Whether the pod of completion index 0 can be asked for its progress."""
    events: tuple[EventNote, ...] = field(default=())


@dataclass(frozen=True)
class EventNote:
    """A Kubernetes Event to post, once the status is written."""

    type: str
    reason: str
    message: str


def timestamp(moment: datetime) -> str:
    """A moment in the form that Kubernetes uses."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
