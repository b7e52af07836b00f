"""Composes `status` from a decision: phase, conditions, attempts, progress."""

from __future__ import annotations

from typing import Any, Literal

from qlora_api import report
from qlora_api.durations import format_duration
from qlora_api.reasons import Reason
from qlora_api.status import Attempt, Condition, Evaluation, Memory, Output, Phase, Progress, QLoRAJobStatus
from qlora_operator.plan.budget import REQUEUED, SUSPENDED, counters
from qlora_operator.plan.in_place import restarts_in_place, unrecorded_restarts
from qlora_operator.plan.pause import pause_after
from qlora_operator.plan.stall import current_stall
from qlora_operator.plan.types import AttemptChange, Decision, Observation
from qlora_operator.times import timestamp

ATTEMPTS_KEPT = 50
"""Attempts in the status; older ones are only counted."""

Truth = Literal["True", "False"]


def compose_status(observation: Observation, decision: Decision) -> QLoRAJobStatus:
    """The status that follows from a decision; what the decision does not touch stays as it was."""
    before = observation.status
    now = timestamp(observation.now)
    begins = decision.attempt == AttemptChange.BEGIN
    paused_since, paused_seconds = pause_after(observation, decision.phase)
    restarts, counted = counters(before) if begins else (before.restarts or 0, before.counted_restarts or 0)
    in_place = unrecorded_restarts(observation, decision.report) if observation.is_open else 0
    progress = _progress(observation, decision, now)
    return QLoRAJobStatus(
        phase=decision.phase,
        observed_generation=observation.resource.generation,
        conditions=_conditions(observation, decision, now),
        start_time=before.start_time or (now if begins else None),
        completion_time=now if decision.phase.is_final else None,
        paused_since=paused_since,
        paused_seconds=paused_seconds,
        restarts=restarts + in_place,
        counted_restarts=counted + in_place,
        attempts=_attempts(observation, decision, progress, now)[-ATTEMPTS_KEPT:],
        progress=progress,
        memory=_memory(observation),
        portion=decision.portion or before.portion,
        output=_output(observation, decision),
    )


def _attempts(observation: Observation, decision: Decision, progress: Progress | None, now: str) -> list[Attempt]:
    attempts = list(observation.status.attempts)
    told: Any = decision.report or observation.progress
    if attempts and observation.is_open and told is not None and told.from_step is not None:
        attempts = _with_from_step(attempts, told.from_step)
    if attempts and observation.is_open:
        in_place = restarts_in_place(observation, decision.report)
        attempts[-1] = attempts[-1].model_copy(update={"restarts_in_place": in_place or None})
        attempts[-1] = _with_first_step_time(attempts[-1], _last_step(observation, decision), now)
    if decision.attempt == AttemptChange.BEGIN:
        number = observation.attempt + 1 if observation.record is not None else 1
        return [*attempts, Attempt(number=number, start_time=now)]
    if decision.attempt == AttemptChange.RESUME:
        return _resumed(attempts, now)
    ends = decision.attempt == AttemptChange.END or decision.phase.is_final
    if attempts and observation.is_open and ends:
        attempts[-1] = attempts[-1].model_copy(
            update={
                "completion_time": now,
                "reason": decision.reason,
                "message": decision.message,
                "pod": decision.pod,
                "node": decision.node,
                "to_step": _last_step(observation, decision),
                "last_step_time": progress.last_step_time if progress and attempts[-1].first_step_time else None,
            }
        )
    elif attempts and attempts[-1].reason in (REQUEUED, SUSPENDED) and decision.report is not None:
        last = max(attempts[-1].to_step or 0, decision.report.step or 0)  # the pods had not ended before
        attempts[-1] = attempts[-1].model_copy(update={"to_step": last})
    return attempts


def _resumed(attempts: list[Attempt], now: str) -> list[Attempt]:
    """The open record with its pods asked for now, or another record of the interrupted attempt."""
    last = attempts[-1]
    if last.completion_time is None:
        return [*attempts[:-1], last.model_copy(update={"start_time": now})]
    return [*attempts, Attempt(number=last.number, start_time=now)]


def _with_from_step(attempts: list[Attempt], from_step: int) -> list[Attempt]:
    """Where an attempt began also tells what was lost of the one before."""
    result = [*attempts[:-1], attempts[-1].model_copy(update={"from_step": from_step})]
    if len(result) > 1 and result[-2].to_step is not None:
        result[-2] = result[-2].model_copy(update={"lost_steps": max(0, result[-2].to_step - from_step)})
    return result


def _with_first_step_time(attempt: Attempt, step: int | None, now: str) -> Attempt:
    """Dates the first step of an attempt, as soon as it is known to have made one."""
    if attempt.first_step_time is not None or attempt.from_step is None or step is None or step <= attempt.from_step:
        return attempt
    return attempt.model_copy(update={"first_step_time": now})


def _last_step(observation: Observation, decision: Decision) -> int | None:
    """The furthest step of the attempt that anybody has told of; an operator that began anew has it in the status."""
    record, written = observation.record, observation.status.progress
    is_of_this_attempt = record is not None and record.first_step_time is not None
    reports = (decision.report, observation.progress, written if is_of_this_attempt else None)
    return max((told.step for told in reports if told is not None and told.step is not None), default=None)


def _conditions(observation: Observation, decision: Decision, now: str) -> list[Condition]:
    """Accepted and Running always; Succeeded and Failed once they are true; Stalled until the job trains again."""
    phase = decision.phase
    about = (decision.reason, decision.message)
    wanted: dict[str, tuple[Truth, str, str]] = {
        "Accepted": ("True", "Valid", "") if decision.accepted else ("False", *about),
        "Running": ("True" if phase == Phase.RUNNING else "False", *about),
    }
    if phase.is_final:
        wanted[phase.value] = ("True", *about)
    stall = current_stall(observation) if phase == Phase.RUNNING else None
    if decision.reason == Reason.STALLED:
        wanted["Stalled"] = ("True", *about)
    elif stall is not None:
        wanted["Stalled"] = ("True", "NoProgress", stall)
    elif phase == Phase.RUNNING and observation.status.condition("Stalled") is not None:
        wanted["Stalled"] = ("False", "Progressing", "")
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


def _progress(observation: Observation, decision: Decision, now: str) -> Progress | None:
    """The pod's newest figures; at the end, those of its last words."""
    before = observation.status.progress

    def seen(step: int) -> str:
        return before.last_step_time if before and before.step == step and before.last_step_time else now

    words = decision.report
    if words is not None and words.step is not None and words.of is not None:
        saved = words.step if words.reason == Reason.STOPPED else before and before.last_checkpoint_step
        return Progress(
            step=words.step,
            of=words.of,
            position=f"{words.step}/{words.of}",
            loss=_rounded(words.loss) if words.loss is not None else before and before.loss,
            evaluation=_evaluation(words.evaluation) or (before and before.evaluation),
            tokens_per_second=before and before.tokens_per_second,
            last_checkpoint_step=saved,
            last_step_time=seen(words.step),
        )
    told = observation.progress
    if told is None or told.of == 0:
        return before.model_copy(update={"eta": None}) if before and decision.phase != Phase.RUNNING else before
    return _progress_of(told, decision.phase, seen(told.step))


def _progress_of(told: report.Progress, phase: Phase, seen: str) -> Progress:
    eta = None if told.eta_seconds is None or phase != Phase.RUNNING else format_duration(told.eta_seconds)
    return Progress(
        step=told.step,
        of=told.of,
        position=f"{told.step}/{told.of}",
        loss=_rounded(told.loss),
        evaluation=_evaluation(told.evaluation),
        tokens_per_second=None if told.tokens_per_second is None else round(told.tokens_per_second, 1),
        eta=eta,
        last_checkpoint_step=told.last_checkpoint_step,
        last_step_time=seen,
    )


def _memory(observation: Observation) -> Memory | None:
    """What the pod tells; once it is silent, what was known before."""
    told = observation.progress
    if told is None or told.predicted_gpu_memory_bytes is None:
        return observation.status.memory
    return Memory(
        predicted=_mebibytes(told.predicted_gpu_memory_bytes),
        measured=_mebibytes(told.gpu_memory_bytes),
        micro_batch_size=told.micro_batch_size,
        gradient_checkpointing=told.gradient_checkpointing,
    )


def _mebibytes(size: int | None) -> str | None:
    return None if size is None else f"{round(size / 2**20)}Mi"


def _evaluation(told: report.Evaluation | None) -> Evaluation | None:
    if told is None:
        return None
    return Evaluation(
        step=told.step, loss=round(told.loss, 4), best_step=told.best_step, best_loss=round(told.best_loss, 4)
    )


def _rounded(loss: float | None) -> float | None:
    return None if loss is None else round(loss, 4)


def _output(observation: Observation, decision: Decision) -> Output | None:
    if decision.phase != Phase.SUCCEEDED or observation.spec is None:
        return observation.status.output
    return Output(adapter=f"{observation.spec.output.destination.rstrip('/')}/adapter")
