"""The supervisor with the real launcher and real ranks."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from qlora_api.reasons import Reason
from qlora_api.report import Progress
from qlora_trainer.supervisor.gang.coordinator import SILENT_SECONDS
from unit.trainer.pods import Gang

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG = {"maxSteps": 100_000, "epochs": 1000}


def test_sigterm_reaches_all_ranks_at_once_and_the_run_resumes_exactly(gang: Gang) -> None:
    steps = 400
    (pod,) = gang.new_pods(slots=2, training={**LONG, "maxSteps": steps})
    assert pod.fetch() == 0
    pod.start()
    pod.wait_for_step(3)

    progress = Progress.model_validate_json(pod.get("/status"))
    assert (progress.state, progress.of) == ("Training", steps)
    assert progress.resident_memory_bytes is not None
    assert progress.resident_memory_bytes > 2 * 100_000_000, "two ranks with torch"
    metrics = pod.get("/metrics")
    assert b"qlora_trainer_loss " in metrics
    assert b"qlora_trainer_resident_memory_bytes " in metrics
    assert pod.get("/healthz") == b"ok\n"

    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(30) == 143
    assert [event["processes"] for event in pod.events("asked_to_stop")] == [2]
    stopped = pod.termination()
    assert stopped.reason == Reason.STOPPED
    assert stopped.step is not None
    assert 3 <= stopped.step < steps
    assert (gang.output / f"checkpoints/step-{stopped.step}/manifest.json").exists()
    assert pod.ranks() == []

    before = gang.losses()
    (again,) = gang.new_pods(attempt=2, training={**LONG, "maxSteps": stopped.step + 2, "schedule": "constant"})
    assert again.fetch() == 0
    again.start()
    assert again.wait() == 0, again.log()[-3000:]
    resumed = again.termination()
    assert resumed.from_step == stopped.step
    assert list(gang.losses()) == [*before, stopped.step + 1, stopped.step + 2]

    adapter = (gang.output / "adapter/adapter_model.safetensors").stat().st_mtime_ns
    (third,) = gang.new_pods(attempt=3, training={**LONG, "maxSteps": stopped.step + 2})
    assert third.fetch() == 0
    third.start()
    assert third.wait() == 0
    assert third.events("already_finished")
    assert third.termination().step == stopped.step + 2
    assert (gang.output / "adapter/adapter_model.safetensors").stat().st_mtime_ns == adapter


def test_sigterm_while_the_ranks_are_starting_ends_them_at_once(gang: Gang) -> None:
    (pod,) = gang.new_pods(slots=2, training=LONG)
    assert pod.fetch() == 0
    pod.start()
    deadline = time.monotonic() + 60
    while len(pod.ranks()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(20) == 143
    assert pod.termination().reason == Reason.STOPPED
    assert pod.ranks() == []
    assert not (gang.output / "checkpoints").exists()


def test_a_killed_rank_is_named_and_the_other_pod_says_that_it_only_lost_its_peer(gang: Gang) -> None:
    pods = gang.new_pods(nodes=2, training=LONG)
    for pod in pods:
        assert pod.fetch() == 0
        pod.start()
    pods[0].wait_for_step(1)
    (victim,) = pods[1].ranks()
    os.kill(victim, signal.SIGKILL)
    assert [pod.wait(40) for pod in pods] == [1, 1]
    other, killed = (pod.termination() for pod in pods)
    assert killed.rank == 1
    assert killed.reason in (Reason.HOST_OUT_OF_MEMORY, Reason.TRAINER_FAILED)
    assert "rank 1 was killed" in killed.message
    assert other.reason == Reason.PEER_LOST, "its rank said so itself, or was ended before it could"
    assert [pod.ranks() for pod in pods] == [[], []]


def test_ranks_that_wait_for_a_pod_that_is_gone_do_not_get_the_whole_grace_period(gang: Gang) -> None:
    """As on a node that is cut off: nothing is closed, nothing arrives, and no signal can end the step."""
    pods = gang.new_pods(nodes=2, grace=120, training=LONG)
    for pod in pods:
        assert pod.fetch() == 0
        pod.start()
    pods[0].wait_for_step(1)
    for pid in (pods[1].process.pid, *pods[1].launchers(), *pods[1].ranks()):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(SILENT_SECONDS + 2)
    pods[0].process.send_signal(signal.SIGTERM)
    assert pods[0].wait(60) == 143
    assert pods[0].termination().reason == Reason.STOPPED
    assert pods[0].ranks() == []


def test_a_killed_launcher_is_no_success_and_leaves_no_rank_behind(gang: Gang) -> None:
    """`deepspeed` exits with 0 when its child is killed."""
    (pod,) = gang.new_pods(training=LONG)
    assert pod.fetch() == 0
    pod.start()
    pod.wait_for_step(1)
    (launcher,) = pod.launchers()
    os.kill(launcher, signal.SIGKILL)
    assert pod.wait(40) == 1
    termination = pod.termination()
    assert termination.reason == Reason.LAUNCHER_VANISHED
    assert "exit code 0" in termination.message
    assert pod.ranks() == []
    checkpoint = gang.output / f"checkpoints/step-{termination.step}/manifest.json"
    assert json.loads(checkpoint.read_text())["attempt"] == 1
