"""The job's status on this machine, in the words of a QLoRAJob: pure functions from one status to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from qlora_api.report import Progress, Termination
from qlora_api.status import Attempt, Output, Phase, QLoRAJobStatus
from qlora_api.status import Progress as ProgressStatus
from qlora_operator.times import timestamp

SUSPENDED = "Suspended"
INTERRUPTED = "Stopped"


def begun(status: QLoRAJobStatus, now: datetime) -> QLoRAJobStatus:
    """With one attempt more."""
    number = status.attempts[-1].number + 1 if status.attempts else 1
    attempt = Attempt(number=number, start_time=timestamp(now))
    started = {"phase": Phase.RUNNING, "start_time": status.start_time or timestamp(now)}
    return status.model_copy(update={**started, "attempts": [*status.attempts, attempt], "completion_time": None})


def ended(
    status: QLoRAJobStatus, reason: str, outcome: Termination, last: Progress | None, now: datetime
) -> QLoRAJobStatus:
    """With the last attempt ended; what its outcome does not tell of steps, its last figures do."""
    update = {
        "completion_time": timestamp(now),
        "reason": reason,
        "message": outcome.message or None,
        "from_step": last.from_step if outcome.from_step is None and last is not None else outcome.from_step,
        "to_step": last.step if outcome.step is None and last is not None else outcome.step,
    }
    return _with_last(status, update)


def closed(status: QLoRAJobStatus, now: datetime) -> QLoRAJobStatus:
    """With an attempt ended that outlived its command, as after a crash of the machine."""
    if not status.attempts or status.attempts[-1].completion_time is not None:
        return status
    known = status.progress.step if status.progress else None
    message = "the command ended before the attempt did"
    update = {"completion_time": timestamp(now), "reason": INTERRUPTED, "message": message, "to_step": known}
    return _with_last(status, update)


def finished(status: QLoRAJobStatus, phase: Phase, now: datetime, adapter: str | None = None) -> QLoRAJobStatus:
    """In a phase in which no pods run."""
    output = None if adapter is None else Output(adapter=adapter)
    done = timestamp(now) if phase.is_final else None
    return status.model_copy(update={"phase": phase, "completion_time": done, "output": output})


def with_progress(status: QLoRAJobStatus, progress: Progress) -> QLoRAJobStatus:
    """With how far the training is; a pod that has just started knows less than the last one did."""
    if progress.step == 0:
        return status
    told = ProgressStatus(
        step=progress.step,
        of=progress.of,
        position=f"{progress.step}/{progress.of}",
        loss=progress.loss,
        last_checkpoint_step=progress.last_checkpoint_step,
    )
    return status.model_copy(update={"progress": told})


def has_trained(status: QLoRAJobStatus) -> bool:
    """Whether a step was done that a new job would lose."""
    return status.progress is not None


def active_seconds(attempts: Sequence[Attempt]) -> float:
    """Time in which the ended attempts ran, which `runPolicy.activeDeadline` counts."""
    return sum(
        (datetime.fromisoformat(attempt.completion_time) - datetime.fromisoformat(attempt.start_time)).total_seconds()
        for attempt in attempts
        if attempt.completion_time is not None
    )


def _with_last(status: QLoRAJobStatus, update: Mapping[str, object]) -> QLoRAJobStatus:
    return status.model_copy(
        update={"attempts": [*status.attempts[:-1], status.attempts[-1].model_copy(update=update)]}
    )
