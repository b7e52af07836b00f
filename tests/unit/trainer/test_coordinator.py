"""What the gang does, told by pod 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_api.report import Restart, Termination
from qlora_trainer import termination
from qlora_trainer.supervisor.gang.coordinator import MISSING_SECONDS, SILENT_SECONDS, Coordinator
from qlora_trainer.supervisor.gang.messages import GangState, MemberReport, MemberState, Order
from unit.trainer.pods import Gang

READY, RUNNING, ENDED = MemberState.READY, MemberState.RUNNING, MemberState.ENDED
FAILED = termination.failed(Reason.TRAINER_FAILED, "KeyError: 'x'", rank=1)
PEER_LOST = termination.failed(Reason.PEER_LOST, "lost the connection")


class TestBench:
    """A coordinator of two pods, with a clock and a step that stand still until told."""

    __test__ = False

    def __init__(self, job: JobFile) -> None:
        self.now = 0.0
        self.step = 5
        self.restarts: list[Restart] = []
        self.coordinator = Coordinator(job, lambda: self.step, self.restarts.append, clock=lambda: self.now)

    def tell(self, index: int, state: MemberState, outcome: Termination | None = None, **fields: Any) -> Order:
        report: dict[str, Any] = {"uid": "uid", "attempt": 1, "epoch": len(self.restarts), **fields}
        order = self.coordinator.receive(MemberReport(completion_index=index, state=state, outcome=outcome, **report))
        assert order is not None
        return order

    def train(self) -> None:
        self.tell(0, READY)
        assert self.tell(1, READY).state == GangState.TRAIN

    def fail(self, outcome: Termination = FAILED) -> Order:
        """Pod 1 fails, and pod 0 loses its peer."""
        self.tell(0, ENDED, PEER_LOST)
        return self.tell(1, ENDED, outcome)


def bench(folder: Path, restarts: int = 3) -> TestBench:
    return TestBench(Gang(folder).new_pods(nodes=2, restarts=restarts)[0].job)


@pytest.fixture
def gang(tmp_path: Path) -> TestBench:
    return bench(tmp_path)


def test_nobody_starts_before_all_are_ready(gang: TestBench) -> None:
    assert gang.tell(0, READY).state == GangState.GATHER
    assert gang.tell(0, READY).state == GangState.GATHER
    assert gang.tell(1, READY).state == GangState.TRAIN
    assert gang.tell(0, RUNNING).state == GangState.TRAIN


def test_one_fault_halts_all_and_a_new_epoch_gathers_when_no_rank_is_left(gang: TestBench) -> None:
    gang.train()
    order = gang.tell(0, ENDED, PEER_LOST)
    assert (order.state, order.epoch) == (GangState.HALT, 0)
    assert gang.tell(1, RUNNING).state == GangState.HALT
    order = gang.tell(1, ENDED, FAILED)
    assert (order.state, order.epoch, order.why) == (GangState.GATHER, 1, "KeyError: 'x'")
    (restart,) = gang.restarts
    assert (restart.number, restart.reason, restart.completion_index, restart.rank) == (1, "TrainerFailed", 1, 1)
    assert restart.to_step == 5
    assert gang.tell(0, READY).state == GangState.GATHER
    assert gang.tell(1, READY).state == GangState.TRAIN


def test_a_report_of_an_epoch_that_is_over_changes_nothing(gang: TestBench) -> None:
    gang.train()
    gang.fail()
    assert gang.tell(1, ENDED, FAILED, epoch=0).state == GangState.GATHER
    assert gang.tell(1, READY, epoch=0).state == GangState.GATHER
    assert len(gang.restarts) == 1


def test_the_same_fault_without_a_step_between_ends_the_attempt(gang: TestBench) -> None:
    gang.train()
    gang.fail()
    gang.train()
    assert gang.fail().state == GangState.END


def test_the_same_fault_after_a_step_is_mended_again(gang: TestBench) -> None:
    gang.train()
    gang.fail()
    gang.step = 6
    gang.train()
    assert gang.fail().state == GangState.GATHER
    assert [restart.number for restart in gang.restarts] == [1, 2]


def test_there_are_no_more_restarts_than_the_job_file_says(tmp_path: Path) -> None:
    gang = bench(tmp_path, restarts=0)
    gang.train()
    assert gang.fail().state == GangState.END


@pytest.mark.parametrize("reason", [Reason.DATASET_INVALID, Reason.LOSS_DIVERGED, Reason.GPU_OUT_OF_MEMORY])
def test_what_a_new_process_cannot_mend_ends_the_attempt(gang: TestBench, reason: Reason) -> None:
    gang.train()
    assert gang.fail(termination.failed(reason, "")).state == GangState.END


def test_a_pod_that_was_asked_to_stop_takes_the_others_with_it(gang: TestBench) -> None:
    gang.train()
    stopped = termination.failed(Reason.STOPPED, "saved")
    assert gang.tell(1, ENDED, stopped, leaves=True).state == GangState.HALT
    assert gang.tell(0, ENDED, stopped).state == GangState.END
    assert gang.coordinator.everyone_was_told_to_end


def test_ranks_that_stopped_because_a_launcher_vanished_do_not_hide_it(gang: TestBench) -> None:
    gang.train()
    gang.tell(0, ENDED, termination.failed(Reason.STOPPED, "saved"))
    assert gang.tell(1, ENDED, termination.failed(Reason.LAUNCHER_VANISHED, "")).state == GangState.GATHER
    assert gang.restarts[0].reason == "LauncherVanished"


def test_a_pod_that_does_not_answer_ends_the_attempt_in_the_end(gang: TestBench) -> None:
    gang.train()
    gang.tell(0, ENDED, PEER_LOST)
    gang.now = MISSING_SECONDS - 1
    assert gang.tell(0, ENDED, PEER_LOST).state == GangState.HALT
    gang.now = MISSING_SECONDS
    order = gang.tell(0, ENDED, PEER_LOST)
    assert (order.state, order.why) == (GangState.END, "127.0.0.2 has not answered for 60 s")


def test_a_stall_halts_all_and_is_the_reason(gang: TestBench) -> None:
    gang.train()
    gang.coordinator.find(Reason.STALLED, "no step for 40 s")
    assert gang.tell(0, RUNNING).state == GangState.HALT
    killed = termination.failed(Reason.PEER_LOST, "stopped because of another pod")
    gang.tell(0, ENDED, killed)
    assert gang.tell(1, ENDED, killed).state == GangState.GATHER
    assert (gang.restarts[0].reason, gang.restarts[0].message) == ("Stalled", "no step for 40 s")


def test_a_stall_that_cannot_be_mended_is_told_by_pod_0(tmp_path: Path) -> None:
    gang = bench(tmp_path, restarts=0)
    gang.train()
    gang.coordinator.find(Reason.STALLED, "no step for 40 s")
    gang.tell(0, ENDED, PEER_LOST)
    assert gang.tell(1, ENDED, PEER_LOST).state == GangState.END
    finding = gang.coordinator.finding
    assert finding is not None
    assert finding.reason == Reason.STALLED


def test_nobody_else_is_listened_to(gang: TestBench) -> None:
    for stranger in ({"uid": "other"}, {"attempt": 2}, {"completion_index": 2}):
        fields = {"uid": "uid", "attempt": 1, "completion_index": 0, "epoch": 0, "state": READY, **stranger}
        assert gang.coordinator.receive(MemberReport.model_validate(fields)) is None


def test_the_gang_is_incomplete_without_a_pod_that_says_nothing_any_more(gang: TestBench) -> None:
    gang.train()
    gang.now = SILENT_SECONDS - 1
    assert not gang.tell(0, RUNNING).is_incomplete
    gang.now = SILENT_SECONDS + 1
    assert gang.tell(0, RUNNING).is_incomplete
    assert not gang.tell(1, RUNNING).is_incomplete, "it was only slow"


def test_a_pod_that_has_said_that_it_goes_is_not_missed(gang: TestBench) -> None:
    gang.train()
    gang.tell(1, ENDED, termination.failed(Reason.STOPPED, "asked to stop"), leaves=True)
    gang.now = SILENT_SECONDS + 1
    assert not gang.tell(0, RUNNING).is_incomplete
