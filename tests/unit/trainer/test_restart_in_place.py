"""Real launchers and ranks that die or hang, in pods that live on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from qlora_api.reasons import Reason
from qlora_api.report import Progress
from unit.trainer.pods import ROWS, Gang, Pod

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG = {"maxSteps": 1_000_000, "epochs": 1000, "schedule": "constant"}


def start(gang: Gang, nodes: int = 2) -> list[Pod]:
    gang.write_rows(ROWS * 40)
    pods = gang.new_pods(nodes=nodes, restarts=3, training=LONG, checkpoint={"every": "1s", "keep": 3})
    for pod in pods:
        assert pod.fetch() == 0
        pod.start()
    return pods


def status(pod: Pod) -> Progress:
    return Progress.model_validate_json(pod.get("/status"))


def wait_for(pods: list[Pod], what: str, holds: Callable[[], object], timeout: float = 300) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert all(pod.process.poll() is None for pod in pods), pods[0].log()[-4000:] + pods[-1].log()[-4000:]
        assert time.monotonic() < deadline, f"{what}: {status(pods[0])}"
        time.sleep(0.2)


def wait_until_the_next_ranks_stand_by(pods: list[Pod]) -> None:
    wait_for(pods, "ranks that stand by", lambda: all(len(pod.ranks()) == 2 for pod in pods))


def wait_until_trained_again(pods: list[Pod], restarts: int = 1) -> Progress:
    def trains() -> bool:
        told = status(pods[0])
        is_back = len(told.restarts) == restarts and told.state == "Training"
        return is_back and told.step > (told.restarts[-1].to_step or 0)

    wait_for(pods, f"step after restart {restarts}", trains)
    return status(pods[0])


def oldest(pids: list[int]) -> int:
    """By the time at which the kernel started them."""
    return min(pids, key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]))


def training_rank(pod: Pod) -> int:
    """The rank that trains, which is older than one that stands by."""
    return oldest(pod.ranks())


def stop(pods: list[Pod]) -> None:
    for pod in pods:
        pod.process.send_signal(signal.SIGTERM)
    assert [pod.wait(60) for pod in pods] == [143] * len(pods)
    assert [pod.ranks() for pod in pods] == [[]] * len(pods)


def check_that_steps_done_twice_gave_the_same_loss(gang: Gang) -> None:
    losses: dict[int, list[float]] = defaultdict(list)
    for line in map(json.loads, (gang.output / "log.jsonl").read_text().splitlines()):
        losses[line["step"]].append(line["loss"])
    assert sorted(losses) == list(range(1, max(losses) + 1)), "no step is missing"
    repeated = {step: values for step, values in losses.items() if len(values) > 1}
    assert repeated, "a killed rank takes steps with it"
    assert all(values[1:] == pytest.approx(values[:1] * (len(values) - 1), abs=1e-3) for values in repeated.values())


def test_after_a_killed_rank_all_start_again_in_the_same_pods_at_the_newest_checkpoint(gang: Gang) -> None:
    pods = start(gang)
    wait_until_the_next_ranks_stand_by(pods)
    wait_for(pods, "a checkpoint", lambda: status(pods[0]).last_checkpoint_step)
    os.kill(training_rank(pods[1]), signal.SIGKILL)

    told = wait_until_trained_again(pods)
    (restart,) = told.restarts
    assert (restart.number, restart.completion_index, restart.rank) == (1, 1, 1)
    assert restart.reason in (Reason.HOST_OUT_OF_MEMORY, Reason.TRAINER_FAILED)
    assert "rank 1 was killed" in restart.message
    assert restart.from_step is not None
    assert restart.to_step is not None
    assert 0 < restart.from_step <= restart.to_step
    assert (told.from_step, told.resumed_step) == (0, restart.from_step)
    assert [pod.events("launched")[-1]["stood_by"] for pod in pods] == [True, True]
    stop(pods)
    assert [pod.termination().restarts for pod in pods] == [1, 1]
    assert [pod.termination().from_step for pod in pods] == [0, 0]
    check_that_steps_done_twice_gave_the_same_loss(gang)


def test_a_launcher_that_vanishes_is_replaced_and_its_ranks_have_saved(gang: Gang) -> None:
    pods = start(gang)
    wait_until_the_next_ranks_stand_by(pods)
    launcher = oldest(pods[1].launchers())
    os.kill(launcher, signal.SIGKILL)
    (restart,) = wait_until_trained_again(pods).restarts
    assert (restart.reason, restart.completion_index) == (Reason.LAUNCHER_VANISHED, 1)
    assert restart.from_step == restart.to_step
    stop(pods)


def test_a_rank_that_hangs_is_found_and_all_start_again(gang: Gang) -> None:
    pods = start(gang)
    wait_until_the_next_ranks_stand_by(pods)
    os.kill(training_rank(pods[1]), signal.SIGSTOP)
    (restart,) = wait_until_trained_again(pods).restarts
    assert restart.reason == Reason.STALLED
    assert "no step for 3" in restart.message
    stop(pods)


def test_a_fault_that_comes_back_before_a_step_ends_the_pods(gang: Gang) -> None:
    pods = start(gang, nodes=1)
    (pod,) = pods
    wait_until_the_next_ranks_stand_by(pods)
    deadline = time.monotonic() + 120
    while pod.process.poll() is None and time.monotonic() < deadline:
        for rank in pod.ranks():
            os.kill(rank, signal.SIGKILL)
        time.sleep(0.02)
    assert pod.wait(1) == 1
    ended = pod.termination()
    assert (ended.outcome, ended.restarts) == ("Failed", 1)
    assert "rank 0 was killed" in ended.message
