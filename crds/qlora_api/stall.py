"""When a step has taken so long that its ranks must hang: the same rule for supervisors and operator."""

from __future__ import annotations

from qlora_api.report import Progress

FLOOR_SECONDS = 30.0
"""Checkpoints and a slow disk must not look like a hang."""
STEPS = 10
"""A step that takes so many times its usual time hangs."""


def step_limit(progress: Progress) -> float | None:
    """Seconds in which nothing is done after which the ranks hang, or None if that cannot be judged.

    A portion of an evaluation takes no longer than a step, so it counts as something done.

    It is judged only between two steps: before the first, models load and kernels compile; after the last, files are
    written, also if training has ended early.
    """
    begin = progress.from_step if progress.resumed_step is None else progress.resumed_step
    is_between_steps = progress.state == "Training" and (begin or 0) < progress.step < progress.of
    if not is_between_steps or progress.step_seconds is None:
        return None
    return max(FLOOR_SECONDS, STEPS * progress.step_seconds)


def stall_message(progress: Progress, silence: float, times: float = 1.0) -> str | None:
    """What to say of ranks that have done nothing for `silence` seconds, if that is more than `times` the limit."""
    limit = step_limit(progress)
    if limit is None or silence <= times * limit:
        return None
    return (
        f"no step for {silence:.0f} s after step {progress.step}; a step took {progress.step_seconds or 0:.1f} s before"
    )
