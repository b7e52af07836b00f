"""Where the time of a job went: into optimizer steps, into steps that had to be done again, or into none.

    start ── first step ───── last step ── end ── start ── first step ───── last step
      Startup    │    trained     │    down, for the reason of the end   │    trained

All is read off the status, so an operator that was started anew goes on counting where the last one stopped. A time is
counted once its end is known. What follows the last attempt is not counted, nor is the time in which a job was
suspended. Times are the operator's own, and as exact as it looks at a job: `progress.interval`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from qlora_api.status import Attempt, QLoRAJobStatus
from qlora_operator.plan.budget import SUSPENDED
from qlora_operator.plan.types import parse_timestamp


@dataclass(frozen=True)
class Spent:
    """Seconds of one attempt, and of the gap that its end has caused."""

    reason: str | None = None
    """Why the attempt ended."""
    startup: float = 0.0
    """From asking for the first attempt's pods to its first step."""
    trained: float = 0.0
    """From the first step to the last, those that were lost later included."""
    repeated: float = 0.0
    """Time of the steps that the next attempt had to do again."""
    down: float = 0.0
    """From the last step (of an attempt that made none, from its start) to the next attempt's first step, or to its
    start if that makes none either; after a suspension, from the next attempt's start."""


def time_spent(status: QLoRAJobStatus) -> dict[int, Spent]:
    """What is known of each attempt, by its number."""
    attempts = status.attempts
    if attempts and attempts[-1].completion_time is None and attempts[-1].first_step_time and status.progress:
        so_far = {"to_step": status.progress.step, "last_step_time": status.progress.last_step_time}
        attempts = [*attempts[:-1], attempts[-1].model_copy(update=so_far)]
    return {attempt.number: _spent(attempt, after) for attempt, after in zip_longest(attempts, attempts[1:])}


def goodput(spent: Iterable[Spent]) -> float | None:
    """The share of the time that went into steps that count, 0 to 1; None before the first step."""
    known = list(spent)
    trained = sum(part.trained for part in known)
    elapsed = trained + sum(part.startup + part.down for part in known)
    return (trained - sum(part.repeated for part in known)) / elapsed if elapsed > 0 else None


def _spent(attempt: Attempt, after: Attempt | None) -> Spent:
    trained = _seconds(attempt.first_step_time, attempt.last_step_time)
    return Spent(
        reason=attempt.reason,
        startup=_seconds(attempt.start_time, attempt.first_step_time) if attempt.number == 1 else 0.0,
        trained=trained,
        repeated=min(trained, (attempt.lost_steps or 0) * _step_seconds(attempt, trained)),
        down=0.0 if after is None else _down(attempt, after),
    )


def _step_seconds(attempt: Attempt, trained: float) -> float:
    """Mean time of a step, known from the second on."""
    steps = (attempt.to_step or 0) - (attempt.from_step or 0) - 1
    return trained / steps if steps > 0 else 0.0


def _down(attempt: Attempt, after: Attempt) -> float:
    begin = after.start_time if attempt.reason == SUSPENDED else attempt.last_step_time or attempt.start_time
    if after.first_step_time is not None:
        return _seconds(begin, after.first_step_time)
    return _seconds(begin, after.start_time) if after.completion_time is not None else 0.0


def _seconds(begin: str | None, end: str | None) -> float:
    """Never negative: after a change of leaders, two clocks are compared."""
    if begin is None or end is None:
        return 0.0
    return max(0.0, (parse_timestamp(end) - parse_timestamp(begin)).total_seconds())
