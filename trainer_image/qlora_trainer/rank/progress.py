"""Tells how far the training is: a file for the supervisor, `log.jsonl` in the output folder, a line on stdout."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from qlora_api.job_file import JobFile
from qlora_api.report import Progress
from qlora_trainer import log
from qlora_trainer.files import replace_text
from qlora_trainer.rank.memory import peak_gpu_bytes

_WINDOW = 20


class ProgressWriter:
    """Writes the figures of each step.

    Args:
        job: the job.
        file: where the supervisor reads them; None on ranks that are not the first of their pod.
        log_file: `log.jsonl`; None on every rank but 0.
        of: optimizer steps in all.
        from_step: step at which this attempt began.
        loss: loss of that step.
    """

    def __init__(
        self, job: JobFile, file: Path | None, log_file: Path | None, of: int, from_step: int, loss: float | None
    ) -> None:
        self._file = file
        self._log_file = log_file
        self._lock = threading.Lock()  # the thread that writes checkpoints tells of them too
        self._times: deque[float] = deque(maxlen=_WINDOW)
        self.progress = Progress(
            uid=job.uid,
            attempt=job.attempt,
            state="Training",
            step=from_step,
            of=of,
            from_step=from_step,
            resumed_step=from_step,
            loss=loss,
            last_checkpoint_step=from_step or None,
            updated=time.time(),
        )
        self._write({})

    def step(
        self, step: int, loss: float, learning_rate: float, gradient_norm: float, tokens: int, seconds: float
    ) -> None:
        """Tells of a finished step.

        Args:
            step: optimizer steps done.
            loss: mean negative log-likelihood of the learned tokens of the global batch, in nats.
            learning_rate: as used in this step.
            gradient_norm: before clipping.
            tokens: tokens of the global batch, learned or not, without padding.
            seconds: duration of the step.
        """
        self._times.append(seconds)
        mean = sum(self._times) / len(self._times)
        self._write(
            {
                "step": step,
                "loss": loss,
                "tokens_per_second": tokens / seconds,
                "eta_seconds": mean * (self.progress.of - step),
                "step_seconds": mean,
                "gpu_memory_bytes": peak_gpu_bytes(),
            }
        )
        if self._log_file is None:
            return
        line = {
            "step": step,
            "of": self.progress.of,
            "loss": loss,
            "learning_rate": learning_rate,
            "gradient_norm": round(gradient_norm, 6),
            "tokens_per_second": round(tokens / seconds, 2),
            "seconds": round(seconds, 4),
        }
        log.event("step", **line)
        with self._log_file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def checkpoint(self, step: int) -> None:
        """Tells of a complete checkpoint."""
        self._write({"last_checkpoint_step": step})

    def _write(self, update: dict[str, Any]) -> None:
        with self._lock:
            self.progress = self.progress.model_copy(update={**update, "updated": time.time()})
            if self._file is not None:
                replace_text(self._file, self.progress.model_dump_json(by_alias=True, exclude_none=True))
