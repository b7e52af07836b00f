"""Two ranks that try combinations, started again after each one that fails or hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from qlora_api.methods import Cell
from unit.trainer.pods import free_port

RANKS = 2
DEVICE = os.environ.get("MATRIX_DEVICE", "cpu")
"""cuda: each rank takes a GPU."""
WORKER = Path(__file__).with_name("worker.py")
PATH = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
HANGS_AFTER = 120.0
"""Seconds without an outcome; importing takes half a minute on a busy machine."""
Trial = tuple[Cell, dict[str, Any]]
"""A combination, and changes of its spec."""


def try_all(trials: list[Trial], model: Path, folder: Path) -> list[dict[str, Any]]:
    """The outcome of each: `losses` and `trained`, or `error`."""
    outcomes: list[dict[str, Any]] = []
    while len(outcomes) < len(trials):
        outcomes += _try_until_failure(trials[len(outcomes) :], model, folder)
    return outcomes


def _try_until_failure(trials: list[Trial], model: Path, folder: Path) -> list[dict[str, Any]]:
    port = free_port()
    workers = []
    lines = "".join(json.dumps([*cell, changes]) + "\n" for cell, changes in trials)
    for rank in range(RANKS):
        environment = {
            "RANK": rank, "WORLD_SIZE": RANKS, "LOCAL_RANK": 0 if DEVICE == "cpu" else rank, "LOCAL_SIZE": 1,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "DS_ACCELERATOR": DEVICE, "OMP_NUM_THREADS": 1,
            "TQDM_DISABLE": 1,
            "PYTHONPATH": PATH,
        }  # fmt: skip
        with (folder / f"log-{rank}").open("a") as log, (folder / f"out-{rank}").open("w") as out:
            worker = subprocess.Popen(
                [sys.executable, str(WORKER), str(model), str(folder / "adapter")],
                env=os.environ | {key: str(value) for key, value in environment.items()},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=log,
                text=True,
            )
        assert worker.stdin is not None
        worker.stdin.write(lines)
        worker.stdin.close()
        workers.append(worker)
    try:
        _wait(workers, folder)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    outcomes = _outcomes(folder, len(trials))
    if outcomes[0].get("error") == "hangs" and all(worker.returncode not in (0, -9) for worker in workers):
        raise RuntimeError(f"the ranks do not start: {(folder / 'log-0').read_text()[-2000:]}")
    return outcomes


def _wait(workers: list[subprocess.Popen[str]], folder: Path) -> None:
    """Returns when all have ended, or one makes no progress."""
    seen, since = "", time.monotonic()
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.2)
        now = "".join((folder / f"out-{rank}").read_text() for rank in range(RANKS))
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > HANGS_AFTER:
            return


def _outcomes(folder: Path, trials: int) -> list[dict[str, Any]]:
    """What both ranks have done; the first trial that one of them has not, failed."""
    by_rank = [_results(folder / f"out-{rank}") for rank in range(RANKS)]
    outcomes: list[dict[str, Any]] = []
    for number in range(trials):
        found = [results[number] if len(results) > number else {"error": "hangs"} for results in by_rank]
        failed = sorted((result for result in found if "error" in result), key=lambda r: r["error"] == "hangs")
        if failed:
            return [*outcomes, failed[0]]
        outcomes.append(found[0])
    return outcomes


def _results(file: Path) -> list[dict[str, Any]]:
    """What a rank has written down, without the events of the trainer's log between."""
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if "event" not in line]
