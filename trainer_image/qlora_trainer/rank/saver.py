"""Saves checkpoints while training goes on: the ranks stop only to gather the state, a thread of rank 0 writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from deepspeed import comm

from qlora_trainer import log
from qlora_trainer.rank.checkpoint import write_checkpoint
from qlora_trainer.rank.claim import Claim
from qlora_trainer.rank.progress import ProgressWriter
from qlora_trainer.rank.standing import Standing
from qlora_trainer.rank.state import State, gather_state

CHECK_SECONDS = 1.0
"""Time between two looks whether the output folder is still ours, while nothing is written but the log."""


class Saver:
    """The checkpoints of one attempt.

    Args:
        claim: the output folder.
        rank: this rank; only rank 0 writes.
        every: seconds between two checkpoints.
        keep: checkpoints that are kept.
        facts: what goes into the checkpoint beside the tensors.
        progress: is told of each complete checkpoint.
        more: tensors besides those of `gather_state`, the same on every rank.
        standing: what the evaluations have shown; its best step is kept besides the newest ones.
    """

    def __init__(
        self, claim: Claim, rank: int, every: float, keep: int, facts: dict[str, Any], progress: ProgressWriter,
        more: Callable[[], State] = dict, standing: Callable[[], Standing | None] = lambda: None,
    ) -> None:  # fmt: skip
        self._claim = claim
        self._is_writer = rank == 0
        self._every = every
        self._keep = keep
        self._facts = facts
        self._progress = progress
        self._more = more
        self._standing = standing
        self._last = self._checked = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint, as seen by rank 0; the others are told.

        Raises:
            TrainerError, OSError: another attempt has claimed the output folder, or writing the one before has failed.
        """
        if not self._is_writer:
            return False
        now = time.monotonic()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            self._claim.check()
        if now - self._last < self._every:
            return False
        if self._writing is not None:
            if not self._writing.done():
                return False
            self._writing.result()
        return True

    def save(self, engine: Any, step: int, loss: float) -> None:
        """Gathers the state and begins to write it. Collective: every rank calls it at the same step."""
        begin = time.monotonic()
        state = gather_state(engine) | self._more()
        self._last = time.monotonic()
        if self._is_writer:
            self._finish_writing()
            self._writing = self._thread.submit(self._write, step, loss, self._standing(), state, self._last - begin)

    def wait(self) -> None:
        """Waits until the last checkpoint is on disk. Collective: no rank goes on before.

        Raises:
            TrainerError, OSError: writing it has failed.
        """
        self._finish_writing()
        comm.barrier()

    def _finish_writing(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, step: int, loss: float, standing: Standing | None, state: State, stall: float) -> None:
        begin = time.monotonic()
        self._claim.check()
        facts = {**self._facts, "loss": loss, **({"standing": standing.to_json()} if standing else {})}
        best = standing.best_step if standing else None
        folder = write_checkpoint(self._claim.output / "checkpoints", step, state, facts, self._keep, best)
        self._claim.publish_checkpoint(folder, best)
        self._progress.checkpoint(step)
        log.event(
            "checkpoint", step=step, stall_seconds=round(stall, 3), write_seconds=round(time.monotonic() - begin, 3)
        )
