"""One rank that tries combinations one after another: `worker.py MODEL OUTPUT < cells`, a JSON list a line.

The outcome of each is a line of JSON on stdout. After a failure it ends: the other rank may wait in a collective.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import warnings
from datetime import timedelta
from pathlib import Path

import deepspeed
import torch

from matrix.cell import job_of, try_cell
from qlora_api.methods import Cell
from unit.trainer.random_rows import random_rows


def main() -> None:
    """Tries what stands on stdin."""
    warnings.simplefilter("ignore")
    model, output = Path(sys.argv[1]), Path(sys.argv[2])
    world_size = int(os.environ["WORLD_SIZE"])
    device = torch.device(os.environ["DS_ACCELERATOR"], int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, verbose=False, timeout=timedelta(seconds=30))
    dataset = random_rows()
    for line in sys.stdin:
        method, quantization, stage, checkpointing, changes = json.loads(line)
        cell = Cell(method, quantization, stage, checkpointing)
        begin = time.monotonic()
        try:
            result = try_cell(job_of(cell, world_size, changes, device.type), model, dataset, output, device)
        except BaseException as error:
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps({**result, "seconds": round(time.monotonic() - begin, 2)}), flush=True)
        if "error" in result:
            os._exit(1)


main()
