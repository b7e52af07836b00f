"""What to do about a job: pure functions from an observation to a plan.

The policies are asked in order and the first that has something to say decides. Each is in a file of its own.
"""

from __future__ import annotations

from qlora_operator.plan.accept import refuse_invalid_spec
from qlora_operator.plan.blocked import report_blocked_pods
from qlora_operator.plan.create import missing_children
from qlora_operator.plan.fail import fail_with_first_cause
from qlora_operator.plan.lost import fail_without_job
from qlora_operator.plan.run import follow_pods
from qlora_operator.plan.start import start_attempt
from qlora_operator.plan.status import compose_status, notes_of_transition
from qlora_operator.plan.succeed import succeed_with_output
from qlora_operator.plan.types import Decision, EventNote, Observation, Plan

__all__ = ["Decision", "EventNote", "Observation", "Plan", "make_plan", "plan_problem"]

POLICIES = (
    refuse_invalid_spec,
    succeed_with_output,
    fail_with_first_cause,
    start_attempt,
    fail_without_job,
    report_blocked_pods,
    follow_pods,
)


def make_plan(observation: Observation) -> Plan:
    """The plan for a job. A job in a final phase stays as it is."""
    phase = observation.status.phase
    if phase is not None and observation.status.is_final:
        return Plan(status=observation.status)
    decision = next(found for policy in POLICIES if (found := policy(observation)) is not None)
    return _plan(observation, decision)


def plan_problem(observation: Observation, decision: Decision) -> Plan:
    """The plan when the API server has refused a child: say so, create nothing."""
    return _plan(observation, decision)


def _plan(observation: Observation, decision: Decision) -> Plan:
    status = compose_status(observation, decision)
    return Plan(
        status=status,
        create=missing_children(observation) if decision.accepted and not status.is_final else (),
        requeue_after=decision.requeue_after,
        polls=status.phase == "Running",
        events=notes_of_transition(observation.status, status),
    )
