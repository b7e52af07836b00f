"""What to do about a job: pure functions from an observation to a plan.

The policies are asked in order and the first that has something to say decides. Each is in a file of its own.
"""

from __future__ import annotations

from dataclasses import replace

from qlora_api.status import Phase
from qlora_operator.plan.accept import refuse_invalid_spec
from qlora_operator.plan.blocked import report_blocked_pods
from qlora_operator.plan.create import missing_children
from qlora_operator.plan.deadline import (
    active_time_left,
    fail_after_deadline,
    fail_after_start_deadline,
    start_time_left,
)
from qlora_operator.plan.end import end_failed_attempt
from qlora_operator.plan.finished import clean_up_finished
from qlora_operator.plan.last_words import lacks_last_words
from qlora_operator.plan.notes import notes_of_transition
from qlora_operator.plan.queue import follow_queue
from qlora_operator.plan.restart import restart_ended_attempt
from qlora_operator.plan.run import follow_pods
from qlora_operator.plan.stall import restart_stalled_attempt
from qlora_operator.plan.start import start_attempt
from qlora_operator.plan.status import compose_status
from qlora_operator.plan.succeed import succeed_with_output
from qlora_operator.plan.suspend import suspend_job
from qlora_operator.plan.types import Decision, EventNote, Heard, Observation, Plan

__all__ = ["Decision", "EventNote", "Heard", "Observation", "Plan", "lacks_last_words", "make_plan", "plan_problem"]

POLICIES = (
    refuse_invalid_spec,
    succeed_with_output,
    fail_after_deadline,
    suspend_job,
    follow_queue,
    end_failed_attempt,
    restart_stalled_attempt,
    restart_ended_attempt,
    start_attempt,
    fail_after_start_deadline,
    report_blocked_pods,
    follow_pods,
)


WITH_CHILDREN = (Phase.QUEUED, Phase.STARTING, Phase.RUNNING)
"""Phases in which a Service or ConfigMap that somebody deleted is created again."""


def make_plan(observation: Observation) -> Plan:
    """The plan for a job. A job in a final phase stays as it is, apart from what is cleaned up;
    a change of its `runPolicy` is seen all the same."""
    if observation.status.is_final:
        seen = {"observed_generation": observation.resource.generation}
        return Plan(decision=clean_up_finished(observation), status=observation.status.model_copy(update=seen))
    decision = next(found for policy in POLICIES if (found := policy(observation)) is not None)
    return _plan(observation, _with_deadlines(observation, decision))


def plan_problem(observation: Observation, decision: Decision) -> Plan:
    """The plan when the API server has refused a child: say so, create nothing."""
    return _plan(observation, decision)


def _plan(observation: Observation, decision: Decision) -> Plan:
    status = compose_status(observation, decision)
    needs_children = decision.create or (observation.started and decision.phase in WITH_CHILDREN)
    create = missing_children(observation, with_job=decision.create) if decision.accepted and needs_children else ()
    return Plan(
        decision=decision,
        status=status,
        create=create,
        polls=decision.phase == Phase.RUNNING,
        events=notes_of_transition(observation.status, status),
    )


def _with_deadlines(observation: Observation, decision: Decision) -> Decision:
    """No event tells that a deadline has passed, so the job is looked at again when it does."""
    if observation.spec is None or decision.phase.is_final:
        return decision
    times = [decision.requeue_after, active_time_left(observation), start_time_left(observation)]
    known = [time for time in times if time is not None]
    return replace(decision, requeue_after=max(0.0, min(known))) if known else decision
