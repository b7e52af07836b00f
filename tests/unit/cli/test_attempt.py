"""Of several pods that ended, the one that the others followed."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_cli.attempt import first_cause


def failed(reason: Reason) -> Termination:
    return Termination(outcome="Failed", reason=reason, message=reason)


def test_a_pod_that_left_no_word_comes_before_those_that_were_asked_to_stop() -> None:
    fault = first_cause({0: failed(Reason.STOPPED)}, {1: -9}, stopped=False)
    assert (fault.reason, fault.completion_index) == (Reason.POD_LOST, 1)
    assert fault.outcome.message == "pod 1 ended with exit code -9 and left no word"


def test_a_fault_comes_before_its_echo() -> None:
    told = {0: failed(Reason.PEER_LOST), 1: failed(Reason.DATASET_INVALID), 2: failed(Reason.STOPPED)}
    assert first_cause(told, {}, stopped=False).completion_index == 1


def test_a_pod_that_somebody_stopped_is_the_cause_if_there_is_no_other() -> None:
    assert first_cause({0: failed(Reason.STOPPED)}, {}, stopped=False).reason == Reason.STOPPED


def test_whoever_wanted_to_stop_is_told_so() -> None:
    assert first_cause({0: failed(Reason.STOPPED)}, {1: -9}, stopped=True).reason == Reason.STOPPED
    fault = first_cause({}, {0: -15}, stopped=True)
    assert (fault.reason, fault.outcome.message) == (Reason.STOPPED, "stopped before it could save")
