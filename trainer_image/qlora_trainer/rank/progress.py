"""Tells how far the training is: a file for the supervisor, the reporters of rank 0, a line on stdout."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qlora_api.job_file import JobFile
from qlora_api.report import Evaluation, Progress
from qlora_trainer import log
from qlora_trainer.files import replace_text
from qlora_trainer.rank.journal import Reporter
from qlora_trainer.rank.memory import peak_gpu_bytes
from qlora_trainer.rank.standing import Standing, perplexity

_WINDOW = 20
_PORTION_SECONDS = 0.5
"""Time between two tellings of a portion."""


class ProgressWriter:
    """Writes the figures of each step.

    Args:
        job: the job.
        file: where the supervisor reads them; None on ranks that are not the first of their pod.
        reporters: none on every rank but 0.
        of: optimizer steps in all.
        from_step: step at which this attempt began.
        loss: loss of that step.
        standing: what the evaluations until then have shown.
        predicted_memory: bytes that a rank is expected to allocate on its GPU.
    """

    def __init__(
        self, job: JobFile, file: Path | None, reporters: Sequence[Reporter], of: int, from_step: int,
        loss: float | None, standing: Standing | None = None, predicted_memory: int | None = None,
    ) -> None:  # fmt: skip
        self._file = file
        self._reporters = reporters
        self._lock = threading.Lock()  # the thread that writes checkpoints tells of them too
        self._times: deque[float] = deque(maxlen=_WINDOW)
        self._evaluation_seconds_a_step = 0.0
        self._portions, self._portion_told = 0, 0.0
        self.progress = Progress(
            uid=job.uid,
            attempt=job.attempt,
            state="Training",
            step=from_step,
            of=of,
            from_step=from_step,
            resumed_step=from_step,
            loss=loss,
            evaluation=_evaluation(standing),
            last_checkpoint_step=from_step or None,
            predicted_gpu_memory_bytes=predicted_memory,
            micro_batch_size=job.spec.training.micro_batch_size,
            gradient_checkpointing=job.spec.training.gradient_checkpointing,
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
                "eta_seconds": (mean + self._evaluation_seconds_a_step) * (self.progress.of - step),
                "step_seconds": mean,
                "gpu_memory_bytes": peak_gpu_bytes(),
            }
        )
        if not self._reporters:
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
        for reporter in self._reporters:
            reporter.step(line)

    def portion(self) -> None:
        """Tells that an evaluation goes on, at most a few times a second."""
        self._portions += 1
        now = time.monotonic()
        if now - self._portion_told >= _PORTION_SECONDS:
            self._portion_told = now
            self._write({"evaluated_portions": self._portions})

    def evaluated(self, standing: Standing, tokens: int, seconds: float, every: int) -> None:
        """Tells of an evaluation.

        Args:
            standing: with it.
            tokens: learned tokens of the held-out rows.
            seconds: its duration.
            every: steps between two.
        """
        self._evaluation_seconds_a_step = seconds / every
        self._write({"evaluation": _evaluation(standing), "evaluated_portions": self._portions})
        if not self._reporters:
            return
        line = {
            "step": standing.step,
            "loss": standing.loss,
            "perplexity": round(perplexity(standing.loss), 4),
            "best_step": standing.best_step,
            "best_loss": standing.best_loss,
            "tokens": tokens,
            "seconds": round(seconds, 4),
        }
        log.event("evaluation", **line)
        for reporter in self._reporters:
            reporter.evaluation(line)

    def sample(self, step: int, number: int, prompt: str, text: str, expected: str | None) -> None:
        """Tells of a text that the model has written, the same `number` for the same prompt."""
        known = {} if expected is None else {"expected": expected}
        for reporter in self._reporters:
            reporter.sample({"step": step, "number": number, "prompt": prompt, "text": text, **known})

    def checkpoint(self, step: int) -> None:
        """Tells of a complete checkpoint."""
        self._write({"last_checkpoint_step": step})
        for reporter in self._reporters:
            reporter.saved()

    def close(self) -> None:
        """Tells that no step follows, and returns when the reporters have written all that they know."""
        self._write({"state": "Finishing"})
        for reporter in self._reporters:
            reporter.close()

    def _write(self, update: dict[str, Any]) -> None:
        with self._lock:
            self.progress = self.progress.model_copy(update={**update, "updated": time.time()})
            if self._file is not None:
                replace_text(self._file, self.progress.model_dump_json(by_alias=True, exclude_none=True))


def _evaluation(standing: Standing | None) -> Evaluation | None:
    if standing is None:
        return None
    return Evaluation(
        step=standing.step, loss=standing.loss, best_step=standing.best_step, best_loss=standing.best_loss
    )
