"""One rank that runs the jobs of several pods on a GPU of its own imagination: `small_gpu_worker.py ROOT:WHAT...`.

WHAT is `stop` to be stopped after the first step, or the number of sequences that the GPU holds at once. How each run
ended is left in `outcome.json` of its root.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from qlora_trainer.paths import PodPaths
from qlora_trainer.rank import loop
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.loss import MicroBatch, collate
from qlora_trainer.rank.run import run
from qlora_trainer.rank.stop import StopSignal

capacity = 0


def collate_within_capacity(dataset: Dataset, sequences: list[int]) -> MicroBatch:
    if len(sequences) > capacity:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return collate(dataset, sequences)


loop.collate = collate_within_capacity  # type: ignore[attr-defined]
for argument in sys.argv[1:]:
    root, _, what = argument.partition(":")
    stop = StopSignal()
    stop.requested = what == "stop"
    capacity = 1024 if stop.requested else int(what)
    outcome = run(PodPaths(Path(root)), int(os.environ["RANK"]), stop)
    (Path(root) / "outcome.json").write_text(outcome.model_dump_json(by_alias=True, exclude_none=True))
