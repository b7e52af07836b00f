"""Keeps the record of restarts that the pods of an attempt have made by themselves."""

from __future__ import annotations

from datetime import UTC, datetime

from qlora_api import report
from qlora_api.status import QLoRAJobStatus, RestartInPlace
from qlora_operator.plan.last_words import last_words
from qlora_operator.plan.types import Observation
from qlora_operator.times import timestamp

Stretch = tuple[str, int]
"""Start of an attempt, and number of the restart in place with which a part of it began; 0 for its first part.

An attempt that a queue has interrupted goes on under its number, so the number alone would not do.
"""

KEPT = 20
"""Restarts of one attempt in the status; earlier ones are only counted."""


def restarts_in_place(observation: Observation, words: report.Termination | None) -> list[RestartInPlace]:
    """The newest restarts of the current attempt: those recorded, told by pod 0, or counted at the end.

    One that nobody told of in time has a number only, and a reason if pod 0 has left it. What a pod tells is not
    believed beyond `runPolicy.maxRestarts`.
    """
    progress = observation.progress
    known = {restart.number: restart for restart in _recorded(observation)}
    recorded = max(known, default=0)
    told = progress.restarts if progress else []
    known |= {restart.number: _record(observation, restart, known.get(restart.number)) for restart in told}
    counted = (words.restarts or 0) if words is not None else 0
    limit = observation.spec.run_policy.max_restarts if observation.spec is not None else 0
    last = min(max([counted, *known]), max(limit, recorded))
    reasons = _reasons_left(observation)
    return [
        known.get(number, RestartInPlace(number=number, reason=reasons.get(number)))
        for number in range(max(0, last - KEPT) + 1, last + 1)
    ]


def unrecorded_restarts(observation: Observation, words: report.Termination | None) -> int:
    """How many of them the status does not count yet."""
    return _count(restarts_in_place(observation, words)) - _count(_recorded(observation))


def all_restarts(status: QLoRAJobStatus) -> dict[Stretch, RestartInPlace]:
    """Every restart that is recorded, by the stretch that it began."""
    return {
        (attempt.start_time, restart.number): restart
        for attempt in status.attempts
        for restart in attempt.restarts_in_place or []
    }


def new_restarts(before: QLoRAJobStatus, after: QLoRAJobStatus) -> list[RestartInPlace]:
    """Those that a status adds to the one before."""
    known = all_restarts(before)
    return [restart for stretch, restart in all_restarts(after).items() if stretch not in known]


def _reasons_left(observation: Observation) -> dict[int, str]:
    """By number, what the pod of completion index 0 said at its end of the newest restarts."""
    words = last_words(observation.known_pods)
    if words is None:
        return {}
    first = (words.restarts or 0) - len(words.restart_reasons) + 1
    return dict(enumerate(words.restart_reasons, start=first))


def _recorded(observation: Observation) -> list[RestartInPlace]:
    record = observation.record
    return record.restarts_in_place or [] if record is not None else []


def _count(restarts: list[RestartInPlace]) -> int:
    return restarts[-1].number if restarts else 0


def _record(observation: Observation, told: report.Restart, known: RestartInPlace | None) -> RestartInPlace:
    """What pod 0 tells of a restart, with the times of the steps around it by the operator's own clock."""
    lost = None if told.from_step is None or told.to_step is None else max(0, told.to_step - told.from_step)
    pods = {pod.completion_index: pod.metadata.name for pod in observation.pods}
    return RestartInPlace(
        number=told.number,
        time=timestamp(datetime.fromtimestamp(told.time, UTC)),
        reason=told.reason,
        message=told.message,
        pod=None if told.completion_index is None else pods.get(told.completion_index),
        to_step=told.to_step,
        from_step=told.from_step,
        lost_steps=lost,
        last_step_time=known.last_step_time if known is not None else _last_step_time(observation),
        first_step_time=(known and known.first_step_time) or _now(observation, told),
    )


def _last_step_time(observation: Observation) -> str | None:
    """When the last step of the attempt was seen; a restart before the first step has none."""
    record, progress = observation.record, observation.status.progress
    return progress.last_step_time if record is not None and record.first_step_time and progress is not None else None


def _now(observation: Observation, told: report.Restart) -> str | None:
    """The time, if a step was done since that restart, which is the newest."""
    progress = observation.progress
    if progress is None or progress.restarts[-1] is not told or told.from_step is None:
        return None
    return timestamp(observation.now) if progress.step > told.from_step else None
