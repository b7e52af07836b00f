"""An attempt whose pods a queue takes away, and gives back later: real training, on two pods of one machine."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from qlora_api.reasons import Reason
from unit.trainer.pods import Gang

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 40
TRAINING = {"maxSteps": STEPS, "epochs": 1000}


def test_no_step_is_lost_or_repeated_and_the_losses_are_those_of_an_undisturbed_run(
    gang: Gang, tiny_model: Path, tmp_path: Path
) -> None:
    pods = gang.new_pods(nodes=2, training=TRAINING)
    for pod in pods:
        assert pod.fetch() == 0
        pod.start()
    pods[0].wait_for_step(3)
    for pod in pods:
        pod.process.send_signal(signal.SIGTERM)
    assert [pod.wait(60) for pod in pods] == [143, 143]
    stopped = [pod.termination() for pod in pods]
    assert {words.reason for words in stopped} == {Reason.STOPPED}
    assert stopped[0].step == stopped[1].step
    assert stopped[0].step is not None
    assert 3 <= stopped[0].step < STEPS

    resumed = gang.train(nodes=2, training=TRAINING)
    assert [pod.job.attempt for pod in (*pods, *resumed)] == [1, 1, 1, 1]
    assert resumed[0].termination().from_step == stopped[0].step
    lines = [json.loads(line) for line in (gang.output / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))

    undisturbed = Gang(tmp_path / "undisturbed", tiny_model)
    undisturbed.train(training=TRAINING)
    assert gang.losses() == pytest.approx(undisturbed.losses(), abs=1e-3)
