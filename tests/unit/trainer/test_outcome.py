"""Which failure the pod reports."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_trainer import termination
from qlora_trainer.errors import StopRequested, TrainerError
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank.outcome import explain
from qlora_trainer.supervisor.cgroup import oom_kills
from qlora_trainer.supervisor.outcome import Ending, decide, exit_code, read_ranks

GOOD = Termination(outcome="Succeeded", step=6, of=6, peak_memory_bytes=10)


def bad(reason: Reason, message: str = "", **fields: Any) -> Termination:
    return termination.failed(reason, message, **fields)


def test_success_needs_the_word_of_every_rank() -> None:
    done = decide(Ending({0: GOOD, 1: GOOD.model_copy(update={"peak_memory_bytes": 30})}, exit_code=0))
    assert (done.outcome, done.step, done.peak_memory_bytes) == ("Succeeded", 6, 30)
    assert exit_code(done) == 0


def test_exit_code_zero_alone_is_no_success() -> None:
    vanished = decide(Ending({0: GOOD, 1: None}, exit_code=0))
    assert (vanished.reason, vanished.rank) == (Reason.LAUNCHER_VANISHED, 1)
    assert exit_code(vanished) == 1


def test_a_lost_peer_is_not_the_cause() -> None:
    ranks = {0: bad(Reason.PEER_LOST), 1: bad(Reason.DISK_FULL, rank=1)}
    assert decide(Ending(ranks, exit_code=1)).reason == Reason.DISK_FULL
    assert decide(Ending({0: bad(Reason.PEER_LOST)}, exit_code=1)).reason == Reason.PEER_LOST


@pytest.mark.parametrize(
    ("oom", "reason"),
    [(1, Reason.HOST_OUT_OF_MEMORY), (None, Reason.HOST_OUT_OF_MEMORY), (0, Reason.TRAINER_FAILED)],
)
def test_a_killed_rank_ran_out_of_memory_unless_the_kernel_says_otherwise(oom: int | None, reason: Reason) -> None:
    killed = decide(Ending({0: bad(Reason.PEER_LOST), 1: None}, exit_code=247, oom_kills=oom))
    assert (killed.reason, killed.rank) == (reason, 1)


def test_an_aborted_rank_waited_for_another() -> None:
    assert decide(Ending({0: None}, exit_code=250)).reason == Reason.COLLECTIVE_TIMEOUT


def test_a_stop_is_told_with_the_checkpoint() -> None:
    stopped = decide(Ending({0: bad(Reason.STOPPED, "saved", step=4)}, exit_code=0, stopped=True))
    assert (stopped.reason, stopped.step, stopped.message) == (Reason.STOPPED, 4, "saved")
    assert exit_code(stopped) == 143


def test_a_stop_that_took_too_long_says_so() -> None:
    killed = decide(Ending({0: None}, exit_code=None, stopped=True))
    assert (killed.reason, exit_code(killed)) == (Reason.STOPPED, 143)
    assert "killed before" in killed.message


def test_a_disk_that_fills_up_while_stopping_is_told() -> None:
    assert decide(Ending({0: bad(Reason.DISK_FULL)}, exit_code=1, stopped=True)).reason == Reason.DISK_FULL


def test_the_stop_of_another_pod_is_told() -> None:
    stopped = decide(Ending({0: bad(Reason.STOPPED, "saved")}, exit_code=0))
    assert stopped.message == "another pod of the job was asked to stop; saved"


def test_a_halted_pod_says_what_the_other_pod_said() -> None:
    halted = decide(Ending({0: None, 1: bad(Reason.PEER_LOST)}, exit_code=None, halted="rank 3: KeyError"))
    assert (halted.reason, halted.message) == (Reason.PEER_LOST, "stopped because of another pod: rank 3: KeyError")


def test_a_rank_that_was_killed_is_the_cause_although_the_gang_was_halted_before_its_launcher_noticed() -> None:
    killed = decide(Ending({0: None}, exit_code=247, halted="lost the connection", oom_kills=0))
    assert (killed.reason, killed.rank) == (Reason.TRAINER_FAILED, 0)


def test_a_rank_that_vanished_is_the_cause_although_the_launcher_had_to_be_killed() -> None:
    """As when the other ranks wait for it in a collective operation, and the launcher for them."""
    killed = decide(Ending({0: None, 1: None}, exit_code=None, vanished=1, oom_kills=0))
    assert (killed.reason, killed.rank) == (Reason.TRAINER_FAILED, 1)


def test_ranks_are_read_in_the_order_in_which_they_failed(tmp_path: Path) -> None:
    paths = PodPaths(tmp_path)
    (paths.outcomes / "1").mkdir(parents=True)
    for rank, when in ((2, 200), (3, 100)):
        paths.outcome(1, rank).write_bytes(termination.encode(bad(Reason.TRAINER_FAILED, rank=rank)))
        os.utime(paths.outcome(1, rank), (when, when))
    paths.outcome(1, 4).write_text("torn")
    assert [(rank, left is None) for rank, left in read_ranks(paths, 1, range(2, 6)).items()] == [
        (3, False),
        (2, False),
        (4, True),
        (5, True),
    ]


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainerError(Reason.LOSS_DIVERGED, "nan"), Reason.LOSS_DIVERGED),
        (StopRequested(), Reason.STOPPED),
        (OutOfMemoryError("CUDA out of memory"), Reason.GPU_OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Reason.HOST_OUT_OF_MEMORY),
        (MemoryError(), Reason.HOST_OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device", "f"), Reason.DISK_FULL),
        (RuntimeError('Error: Os { code: 28, message: "No space left on device" }'), Reason.DISK_FULL),
        (OSError(errno.EROFS, "Read-only file system", "f"), Reason.OUTPUT_NOT_WRITABLE),
        (RuntimeError("[gloo/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"), Reason.PEER_LOST),
        (RuntimeError("[gloo] Timed out waiting 600000ms for recv operation"), Reason.COLLECTIVE_TIMEOUT),
        (KeyError("x"), Reason.TRAINER_FAILED),
    ],
)
def test_an_exception_has_a_reason(error: Exception, reason: Reason) -> None:
    assert explain(error)[0] == reason


def test_a_message_always_fits_and_stays_json() -> None:
    data = termination.encode(bad(Reason.TRAINER_FAILED, "ü€😀" * 3000, exception="x" * 256, host="h" * 253))
    assert len(data) <= 4096
    read = Termination.from_untrusted(data, 4096)
    assert read is not None
    assert read.message.startswith("ü€😀ü")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("memory.events", "low 0\noom 1\noom_kill 2\noom_group_kill 0\n"),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_the_kernels_count_is_read_from_either_cgroup_version(tmp_path: Path, file: str, content: str) -> None:
    assert oom_kills(tmp_path) is None
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    assert oom_kills(tmp_path) == 2


def test_a_launcher_that_the_kernel_has_killed_for_memory_is_told_as_such() -> None:
    told = decide(Ending({0: None}, exit_code=-9, oom_kills=1))
    assert told.reason == Reason.HOST_OUT_OF_MEMORY
    assert "node.resources.memory" in told.message
    assert decide(Ending({0: None}, exit_code=-9, oom_kills=0)).reason == Reason.LAUNCHER_VANISHED
