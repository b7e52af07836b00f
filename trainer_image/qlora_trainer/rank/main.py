"""One rank from start to end."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path
from typing import NoReturn

from qlora_api.report import Termination
from qlora_trainer import log, termination
from qlora_trainer.files import write_text
from qlora_trainer.job import load_job
from qlora_trainer.paths import DEVICES_VARIABLE, EPOCH_VARIABLE, PodPaths
from qlora_trainer.rank.outcome import explain, peak_memory_bytes
from qlora_trainer.rank.stop import StopSignal

_POLL_SECONDS = 0.05


def main() -> NoReturn:
    """Trains once its epoch begins, and leaves how it ended in `ranks/<epoch>/<rank>.json`.

    A rank that was asked to stop, and has saved what it had, exits with 0: on any other code the launcher would go
    on to kill the other ranks of the pod, which may not be done yet.
    """
    stop = StopSignal()
    stop.install()
    rank, epoch, paths = int(os.environ["RANK"]), int(os.environ[EPOCH_VARIABLE]), PodPaths.from_environment()
    if DEVICES_VARIABLE in os.environ:  # DeepSpeed's launcher has set this to 0, 1, ... for its slots
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ[DEVICES_VARIABLE]
    try:
        from qlora_trainer.rank.run import run  # seconds of imports, which SIGTERM may interrupt

        _wait_for_epoch(paths.epoch, epoch)
        outcome = run(paths, rank, stop)
    except BaseException as error:
        reason, message = explain(error)
        outcome = termination.failed(
            reason, message, exception=f"{type(error).__module__}.{type(error).__qualname__}"[:256], rank=rank
        )
        traceback.print_exc()
    _leave(paths, paths.outcome(epoch, rank), rank, outcome)


def _wait_for_epoch(file: Path, epoch: int) -> None:
    """Returns when the supervisor has written the epoch: a rank that stands by has only its imports behind it."""
    while not file.exists() or int(file.read_text()) < epoch:
        time.sleep(_POLL_SECONDS)


def _leave(paths: PodPaths, file: Path, rank: int, outcome: Termination) -> NoReturn:
    host = load_job(paths).hosts[int(os.environ.get("CROSS_RANK", "0"))]
    outcome = outcome.model_copy(update={"rank": rank, "host": host, "peak_memory_bytes": peak_memory_bytes()})
    write_text(file, outcome.model_dump_json(by_alias=True, exclude_none=True))
    log.event("rank_ended", rank=rank, outcome=outcome.outcome, reason=outcome.reason)
    is_calm = outcome.outcome == "Succeeded" or outcome.reason == "Stopped"
    os._exit(0 if is_calm else 1)  # no clean-up: a broken process group can block it for minutes
