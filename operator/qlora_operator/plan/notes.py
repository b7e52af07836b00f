"""Which Events a change of status is worth."""

from __future__ import annotations

from qlora_api.status import Phase, QLoRAJobStatus, RestartInPlace
from qlora_operator.plan.budget import REQUEUED
from qlora_operator.plan.in_place import new_restarts
from qlora_operator.plan.pause import PAUSES
from qlora_operator.plan.suspend import RESUME_MESSAGE, RESUMED
from qlora_operator.plan.types import EventNote


def notes_of_transition(before: QLoRAJobStatus, after: QLoRAJobStatus) -> tuple[EventNote, ...]:
    """Events of a job's end, refusal, restarts, suspension and resumption; a status that repeats itself makes none."""
    notes = [
        EventNote("Warning", restart.reason or "Restarted", _of_restart(restart))
        for restart in new_restarts(before, after)
    ]
    for type_, truth, kind in (
        ("Accepted", "False", "Warning"),
        ("Succeeded", "True", "Normal"),
        ("Failed", "True", "Warning"),
        ("Stalled", "True", "Warning"),
    ):
        was, is_ = before.condition(type_), after.condition(type_)
        repeats = was is not None and was.status == truth
        is_told_below = type_ == "Stalled" and after.phase != Phase.RUNNING
        if is_ is not None and is_.status == truth and not (repeats or is_told_below):
            notes.append(EventNote(kind, is_.reason, is_.message))
    running = after.condition("Running")
    if running is not None and before.phase != after.phase:
        if after.phase == Phase.RESTARTING and before.phase == Phase.SUSPENDED:
            notes.append(EventNote("Normal", RESUMED, RESUME_MESSAGE))
        elif after.phase == Phase.RESTARTING:
            kind = "Normal" if running.reason == REQUEUED else "Warning"
            notes.append(EventNote(kind, running.reason, f"restarting: {running.message}"))
        if after.phase in PAUSES:
            notes.append(EventNote("Normal", running.reason, running.message))
    return tuple(notes)


def _of_restart(restart: RestartInPlace) -> str:
    told = restart.message or "the operator was not told more before the end"
    return f"restarted in place: {told}"
