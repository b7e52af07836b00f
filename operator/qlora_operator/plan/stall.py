"""Finds a gang that hangs: its first pod answers, but no step is done."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_api.stall import stall_message
from qlora_operator.plan.end import end
from qlora_operator.plan.types import Decision, Observation

PATIENCE = 2.0
"""The supervisors restart a gang that hangs by themselves; after this many times their limit the operator does."""


def current_stall(observation: Observation, times: float = 1.0) -> str | None:
    """For how long the gang has made no step, if that is more than `times` the limit."""
    heard = observation.heard
    return None if heard is None else stall_message(heard.progress, heard.silence, times)


def restart_stalled_attempt(observation: Observation) -> Decision | None:
    """Ends an attempt that hangs although its supervisors had the time to mend it."""
    message = current_stall(observation, PATIENCE)
    return None if message is None or not observation.started else end(observation, Reason.STALLED, message)
