"""Where the time of a job went: into optimizer steps, into steps that had to be done again, or into none.

    start ── first step ───── last step ── fault ── start ── first step ───── last step
      Startup    │    trained     │     down, for the reason of the fault  │    trained

All is read off the status, so an operator that was started anew goes on counting where the last one stopped. A time is
counted once its end is known. What follows the last attempt is not counted, nor is a pause: the time in which a job was
suspended, or waited after its queue had taken its place back. Times are the operator's own, and as exact as it looks at
a job: `progress.interval`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest

from qlora_api.status import Attempt, QLoRAJobStatus, RestartInPlace
from qlora_operator.plan.budget import PAUSES
from qlora_operator.plan.in_place import Stretch
from qlora_operator.times import parse_timestamp


@dataclass(frozen=True)
class Spent:
    """Seconds of one stretch of an attempt, up to a restart in place or its end, and of the gap that followed."""

    reason: str | None = None
    """Why it ended."""
    startup: float = 0.0
    """From asking for the first attempt's pods to the first step."""
    trained: float = 0.0
    """From the first step to the last, those that were lost later included."""
    repeated: float = 0.0
    """Time of the steps that had to be done again afterwards."""
    down: float = 0.0
    """From the last step to the first step of the next stretch. Of a stretch that made none, its start stands for its
    first and last step; after a pause, the gap begins with the next attempt's start."""


@dataclass(frozen=True)
class _Part:
    """What is known of a stretch. Times as in the status."""

    stretch: Stretch
    start: str
    first: str | None
    last: str | None = None
    from_step: int | None = None
    to_step: int | None = None
    reason: str | None = None
    lost_steps: int | None = None
    is_over: bool = False


def time_spent(status: QLoRAJobStatus) -> dict[Stretch, Spent]:
    """What is known of each stretch."""
    attempts = status.attempts
    if attempts and attempts[-1].completion_time is None and status.progress:
        so_far = {"to_step": status.progress.step, "last_step_time": status.progress.last_step_time}
        attempts = [*attempts[:-1], attempts[-1].model_copy(update=so_far)]
    parts = [part for attempt in attempts for part in _parts(attempt)]
    spent = {part.stretch: _spent(part, after) for part, after in zip_longest(parts, parts[1:])}
    if parts and attempts[0].number == 1 and parts[0].stretch[1] == 0:
        first = parts[0]
        spent[first.stretch] = replace(spent[first.stretch], startup=_seconds(first.start, first.first))
    return spent


def goodput(spent: Iterable[Spent]) -> float | None:
    """The share of the time that went into steps that count, 0 to 1; None before the first step."""
    known = list(spent)
    trained = sum(part.trained for part in known)
    elapsed = trained + sum(part.startup + part.down for part in known)
    return (trained - sum(part.repeated for part in known)) / elapsed if elapsed > 0 else None


def _parts(attempt: Attempt) -> list[_Part]:
    """The stretches of an attempt, without the first if its end is not recorded any more."""
    restarts = [restart for restart in attempt.restarts_in_place or [] if restart.last_step_time is not None]
    cuts: list[RestartInPlace | None] = [None, *restarts, None]
    parts = [_part(attempt, begin, end) for begin, end in pairwise(cuts)]
    return parts[1:] if restarts and restarts[0].number > 1 else parts


def _part(attempt: Attempt, begin: RestartInPlace | None, end: RestartInPlace | None) -> _Part:
    begun = begin or attempt
    ended = end or attempt
    return _Part(
        stretch=(attempt.start_time, begin.number if begin else 0),
        start=(begin.last_step_time if begin else None) or attempt.start_time,
        first=begun.first_step_time,
        last=ended.last_step_time if begun.first_step_time else None,
        from_step=begun.from_step,
        to_step=ended.to_step,
        reason=ended.reason,
        lost_steps=ended.lost_steps,
        is_over=end is not None or attempt.completion_time is not None,
    )


def _spent(part: _Part, after: _Part | None) -> Spent:
    trained = _seconds(part.first, part.last)
    return Spent(
        reason=part.reason,
        trained=trained,
        repeated=min(trained, (part.lost_steps or 0) * _step_seconds(part, trained)),
        down=0.0 if after is None else _down(part, after),
    )


def _step_seconds(part: _Part, trained: float) -> float:
    """Mean time of a step, known from the second on."""
    steps = (part.to_step or 0) - (part.from_step or 0) - 1
    return trained / steps if steps > 0 else 0.0


def _down(part: _Part, after: _Part) -> float:
    begin = after.start if part.reason in PAUSES else part.last or part.start
    if after.first is not None:
        return _seconds(begin, after.first)
    return _seconds(begin, after.start) if after.is_over else 0.0


def _seconds(begin: str | None, end: str | None) -> float:
    """Never negative: after a change of leaders, two clocks are compared."""
    if begin is None or end is None:
        return 0.0
    return max(0.0, (parse_timestamp(end) - parse_timestamp(begin)).total_seconds())
