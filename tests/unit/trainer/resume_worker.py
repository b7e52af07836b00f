"""One rank that runs the jobs of several pods, one after another: `resume_worker.py ROOT[:STOP_AFTER]...`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from qlora_trainer.paths import PodPaths
from qlora_trainer.rank.run import run
from qlora_trainer.rank.stop import StopSignal


class StopAfter(StopSignal):
    """SIGTERM in the middle of a step, of which the loop asks once."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    @property
    def requested(self) -> bool:
        self._left -= 1
        return self._left == 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


for argument in sys.argv[1:]:
    root, _, steps = argument.partition(":")
    outcome = run(PodPaths(Path(root)), int(os.environ["RANK"]), StopAfter(int(steps or 0)))
    assert outcome.outcome == "Succeeded" or outcome.reason == "Stopped", outcome
    assert bool(steps) == (outcome.outcome == "Failed"), outcome
