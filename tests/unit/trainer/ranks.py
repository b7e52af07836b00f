"""Ranks without supervisors, which start once for many jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from unit.trainer.pods import Pod, free_port

PATH = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


def run(*jobs: tuple[list[Pod], int | None]) -> None:
    """Runs jobs one after another in one process a rank; a number is how often the loop asks before it is to stop."""
    ranks = range(len(jobs[0][0]))
    roots = [[f"{pods[rank].root}" + (f":{stop}" if stop else "") for pods, stop in jobs] for rank in ranks]
    run_worker("resume_worker.py", roots)


def run_worker(script: str, arguments: list[list[str]]) -> None:
    """Runs a program of this folder in one process a rank, each with its own arguments."""
    world_size = len(arguments)
    port = free_port()
    workers = []
    for rank in range(world_size):
        environment = {
            "RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": 0, "LOCAL_SIZE": 1, "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": 1, "TQDM_DISABLE": 1, "PYTHONPATH": PATH,
        }  # fmt: skip
        workers.append(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name(script)), *arguments[rank]],
                env=os.environ | {key: str(value) for key, value in environment.items()},
            )
        )
    try:
        assert [worker.wait(600) for worker in workers] == [0] * world_size
    finally:
        for worker in workers:
            worker.kill()
