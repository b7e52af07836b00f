"""Finds a gang that hangs: its first pod answers, but no step is done."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_operator.plan.end import end
from qlora_operator.plan.types import Decision, Heard, Observation

FLOOR = 30.0
"""Seconds; checkpoints and a slow disk must not look like a hang."""
STEPS = 10
"""A step that takes so many times its usual time hangs."""
UNMEASURED = 900.0
"""Seconds that an operator waits which has not yet seen a step itself, as after its own restart."""


def restart_stalled_attempt(observation: Observation) -> Decision | None:
    """Ends an attempt that made no step for `STEPS` times the usual, at least `FLOOR`: a hung rank never ends."""
    heard = observation.heard
    if not observation.started or heard is None or not _is_stalled(heard):
        return None
    usual = "" if heard.step_seconds is None else f"; a step took {heard.step_seconds:.1f} s before"
    message = f"no step for {heard.silence:.0f} s after step {heard.progress.step}{usual}"
    return end(observation, Reason.STALLED, message)


def _is_stalled(heard: Heard) -> bool:
    """Judges only between two steps: before the first, models load and kernels compile; after the last, files are
    written."""
    progress = heard.progress
    is_between_steps = progress.state == "Training" and (progress.from_step or 0) < progress.step < progress.of
    limit = UNMEASURED if heard.step_seconds is None else max(FLOOR, STEPS * heard.step_seconds)
    return is_between_steps and heard.silence > limit
