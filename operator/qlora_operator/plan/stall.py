"""Finds a gang that hangs: its first pod answers, but no step is done."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_api.stall import step_limit
from qlora_operator.plan.end import end
from qlora_operator.plan.types import Decision, Observation

PATIENCE = 2.0
"""The supervisors restart a gang that hangs by themselves; after this many times their limit the operator does."""


def stall_message(observation: Observation) -> str | None:
    """For how long the gang has made no step, if that is too long."""
    return _message(observation, times=1.0)


def restart_stalled_attempt(observation: Observation) -> Decision | None:
    """Ends an attempt that hangs although its supervisors had the time to mend it."""
    message = _message(observation, PATIENCE)
    return None if message is None or not observation.started else end(observation, Reason.STALLED, message)


def _message(observation: Observation, times: float) -> str | None:
    heard = observation.heard
    limit = None if heard is None else step_limit(heard.progress)
    if heard is None or limit is None or heard.silence <= times * limit:
        return None
    progress = heard.progress
    return (
        f"no step for {heard.silence:.0f} s after step {progress.step}; "
        f"a step took {progress.step_seconds or 0:.1f} s before"
    )
