"""Which failures are followed by another attempt, and how long it waits."""

from __future__ import annotations

import pytest

from qlora_api.reasons import POLICIES, Reason, Retry
from qlora_api.spec import RunPolicySpec
from qlora_api.status import Attempt, QLoRAJobStatus
from qlora_operator.plan.budget import counters, delay, exhausted

POLICY = RunPolicySpec(max_restarts=2, max_disruptions=1)


def attempt(reason: Reason, from_step: int = 0, to_step: int = 0) -> Attempt:
    return Attempt(number=1, start_time="2026-01-01T00:00:00Z", reason=reason, from_step=from_step, to_step=to_step)


@pytest.mark.parametrize("reason", [reason for reason, rule in POLICIES.items() if rule.retry == Retry.NEVER])
def test_what_would_happen_again_is_not_tried_again(reason: Reason) -> None:
    assert exhausted(reason, POLICY, counted=0, disruptions=0) == ""


def test_restarts_are_bounded() -> None:
    assert exhausted(Reason.TRAINER_FAILED, POLICY, counted=1, disruptions=9) is None
    words = exhausted(Reason.TRAINER_FAILED, POLICY, counted=2, disruptions=0)
    assert words == "given up after 2 restarts (runPolicy.maxRestarts)"


def test_disruptions_are_bounded_by_themselves() -> None:
    assert exhausted(Reason.POD_LOST, POLICY, counted=9, disruptions=0) is None
    words = exhausted(Reason.POD_LOST, POLICY, counted=0, disruptions=1)
    assert words == "given up after 1 disruption within an hour (runPolicy.maxDisruptions)"


def test_the_delay_is_short_after_progress_and_doubles_without() -> None:
    assert delay([attempt(Reason.TRAINER_FAILED, 0, 4)]) == 1
    assert delay([attempt(Reason.TRAINER_FAILED)] * 2) == 10
    assert delay([attempt(Reason.RATE_LIMITED)]) == 30


def test_an_attempt_that_holds_less_at_once_follows_without_delay_and_spends_no_restart() -> None:
    tries = [attempt(Reason.TRAINER_FAILED), attempt(Reason.GPU_OUT_OF_MEMORY)]
    assert delay(tries) == 1
    assert counters(QLoRAJobStatus(restarts=4, counted_restarts=3, attempts=tries)) == (5, 3)
