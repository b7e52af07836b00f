"""Composes `status` from a decision: phase, conditions, attempts, progress."""

from __future__ import annotations

from typing import Any, Literal

from qlora_api import report
from qlora_api.durations import format_duration
from qlora_api.status import Attempt, Condition, Output, Phase, Progress, QLoRAJobStatus
from qlora_operator.plan.types import Decision, EventNote, Observation, timestamp

Truth = Literal["True", "False"]


def compose_status(observation: Observation, decision: Decision) -> QLoRAJobStatus:
    """The status that follows from a decision; what the decision does not touch stays as it was."""
    before = observation.status
    now = timestamp(observation.now)
    started = decision.phase not in (Phase.PENDING, Phase.QUEUED)
    attempts = _attempts(observation, decision, now) if started else before.attempts
    return QLoRAJobStatus(
        phase=decision.phase,
        observed_generation=observation.resource.generation,
        conditions=_conditions(observation, decision, now),
        start_time=before.start_time or (now if started else None),
        completion_time=now if decision.phase.is_final else None,
        restarts=max(0, len(attempts) - 1),
        attempts=attempts,
        progress=_progress(observation, decision),
        output=_output(observation, decision),
    )


def _attempts(observation: Observation, decision: Decision, now: str) -> list[Attempt]:
    attempts = list(observation.status.attempts)
    if not observation.started:
        attempts.append(Attempt(number=observation.attempt, start_time=now))
    last = attempts[-1]
    told: Any = decision.report or observation.progress
    changes: dict[str, Any] = {}
    if told is not None and told.from_step is not None:
        changes["from_step"] = told.from_step
    if decision.phase.is_final:
        changes |= {
            "completion_time": now,
            "reason": decision.reason,
            "message": decision.message,
            "pod": decision.pod,
            "node": decision.node,
            "to_step": told.step if told is not None else None,
        }
    attempts[-1] = last.model_copy(update=changes)
    return attempts


def _conditions(observation: Observation, decision: Decision, now: str) -> list[Condition]:
    """Accepted and Running always; Succeeded and Failed once they are true."""
    phase = decision.phase
    about = (decision.reason, decision.message)
    wanted: dict[str, tuple[Truth, str, str]] = {
        "Accepted": ("True", "Valid", "") if decision.accepted else ("False", *about),
        "Running": ("True" if phase == Phase.RUNNING else "False", *about),
    }
    if phase.is_final:
        wanted[phase.value] = ("True", *about)
    generation = observation.resource.generation
    kept = [condition for condition in observation.status.conditions if condition.type not in wanted]
    made = [_condition(observation, type_, *statement, now, generation) for type_, statement in wanted.items()]
    return [*made, *kept]


def _condition(
    observation: Observation, type_: str, truth: Truth, reason: str, message: str, now: str, generation: int
) -> Condition:
    before = observation.status.condition(type_)
    same = before is not None and before.status == truth
    return Condition(
        type=type_,
        status=truth,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and same else now,
    )


def _progress(observation: Observation, decision: Decision) -> Progress | None:
    """The pod's newest figures; at the end, those of its last words."""
    before = observation.status.progress
    words = decision.report
    if words is not None and words.step is not None and words.of is not None:
        return Progress(
            step=words.step,
            of=words.of,
            position=f"{words.step}/{words.of}",
            loss=_rounded(words.loss) if words.loss is not None else before and before.loss,
            tokens_per_second=before and before.tokens_per_second,
            last_checkpoint_step=before and before.last_checkpoint_step,
        )
    told = observation.progress
    if told is None or told.of == 0:
        return before.model_copy(update={"eta": None}) if before and decision.phase.is_final else before
    return _progress_of(told, decision.phase)


def _progress_of(told: report.Progress, phase: Phase) -> Progress:
    eta = None if told.eta_seconds is None or phase.is_final else format_duration(told.eta_seconds)
    return Progress(
        step=told.step,
        of=told.of,
        position=f"{told.step}/{told.of}",
        loss=_rounded(told.loss),
        tokens_per_second=None if told.tokens_per_second is None else round(told.tokens_per_second, 1),
        eta=eta,
        last_checkpoint_step=told.last_checkpoint_step,
    )


def _rounded(loss: float | None) -> float | None:
    return None if loss is None else round(loss, 4)


def _output(observation: Observation, decision: Decision) -> Output | None:
    if decision.phase != Phase.SUCCEEDED or observation.spec is None:
        return observation.status.output
    return Output(adapter=f"{observation.spec.output.destination.rstrip('/')}/adapter")


def notes_of_transition(before: QLoRAJobStatus, after: QLoRAJobStatus) -> tuple[EventNote, ...]:
    """Events of a job's end and of its refusal; a status that repeats itself makes none."""
    notes = []
    for type_, truth, kind in (
        ("Accepted", "False", "Warning"),
        ("Succeeded", "True", "Normal"),
        ("Failed", "True", "Warning"),
    ):
        was, is_ = before.condition(type_), after.condition(type_)
        if is_ is not None and is_.status == truth and (was is None or was.status != truth):
            notes.append(EventNote(kind, is_.reason, is_.message))
    return tuple(notes)
