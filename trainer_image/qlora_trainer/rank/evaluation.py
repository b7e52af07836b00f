"""When the held-out rows are evaluated, and what follows from it: a checkpoint of the best step, or an early end."""

from __future__ import annotations

import math
import time
from enum import Enum, auto
from typing import Any

import torch
from deepspeed import comm

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_api.spec import EvaluationSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fused.router import LossOfModel
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.evaluate import mean_loss
from qlora_trainer.rank.progress import ProgressWriter
from qlora_trainer.rank.samples import make_prompts, write_samples
from qlora_trainer.rank.standing import Standing, standing_after
from qlora_trainer.rank.stop import StopSignal

DEFAULT_EVALUATIONS = 10
"""Evaluations of a job that does not say how often."""


class Verdict(Enum):
    """What the loop does after a step."""

    GO_ON = auto()
    SAVE = auto()
    """A checkpoint is wanted: the step is the best so far, or training ends with it."""
    INTERRUPTED = auto()
    """The pods were asked to stop; the evaluation is made when the job goes on."""


def steps_between(evaluation: EvaluationSpec, of: int) -> int:
    """Optimizer steps between two evaluations, in a run of `of` steps."""
    return evaluation.every_steps or math.ceil(of / DEFAULT_EVALUATIONS)


class Evaluation:
    """The evaluations of one attempt. Every rank has one, and they come to the same verdicts.

    Args:
        job: with an evaluation.
        engine: around the PEFT model.
        held_out: the rows.
        tokenizer: of the model.
        of: optimizer steps in all.
        standing: what the checkpoint says that the job resumes from.
        progress: told of each evaluation.
        stop: whether the pods were asked to stop.
        loss_of: how the loss of a micro-batch is computed; None: as PEFT and transformers do.
    """

    def __init__(
        self, job: JobFile, engine: Any, held_out: Dataset, tokenizer: Any, of: int, standing: Standing | None,
        progress: ProgressWriter, stop: StopSignal, loss_of: LossOfModel | None = None,
    ) -> None:  # fmt: skip
        assert job.spec.evaluation is not None, "only made for a job that evaluates"
        self._spec = job.spec.evaluation
        self._micro_batch_size = job.spec.training.micro_batch_size
        self._engine = engine
        self._held_out = held_out
        self._tokenizer = tokenizer
        self._prompts = make_prompts(self._spec.samples, job.spec.dataset, held_out, tokenizer)
        self._of = of
        self._every = steps_between(self._spec, of)
        self._progress = progress
        self._stop = stop
        self._loss_of = loss_of
        self.standing = standing

    @property
    def has_converged(self) -> bool:
        """Whether early stopping ends the training."""
        early = self._spec.early_stopping
        return early is not None and self.standing is not None and self.standing.waited >= early.patience

    @property
    def step_to_export(self) -> int:
        """The step whose adapter is the result, after the last evaluation."""
        assert self.standing is not None, "the last step is evaluated"
        return self.standing.best_step if self._spec.export == "best" else self.standing.step

    def is_due(self, step: int) -> bool:
        """Whether the step, which is done, has still to be evaluated."""
        is_evaluated = self.standing is not None and self.standing.step >= step
        return step > 0 and not is_evaluated and (step % self._every == 0 or step == self._of)

    def after(self, step: int) -> Verdict:
        """Evaluates the step if that is due. Collective.

        Raises:
            TrainerError: LossDiverged, if the loss is no number.
        """
        if not self.is_due(step) or self.has_converged:
            return Verdict.GO_ON
        begin = time.monotonic()
        loss = mean_loss(self._engine, self._held_out, self._micro_batch_size, self._goes_on, self._loss_of)
        if loss is None:
            return Verdict.INTERRUPTED
        if not math.isfinite(loss):
            raise TrainerError(
                Reason.LOSS_DIVERGED,
                f"the evaluation loss is {loss} at step {step}; write a smaller training.learningRate",
            )
        early = self._spec.early_stopping
        self.standing = standing_after(self.standing, step, loss, early.min_delta if early else 0.0)
        tokens = int(self._held_out.targets.sum())
        self._progress.evaluated(self.standing, tokens, time.monotonic() - begin, self._every)
        if self._prompts:
            self._write_samples(step)
        return Verdict.SAVE if self.standing.is_best or self.has_converged else Verdict.GO_ON

    def ending(self) -> str:
        """A sentence on why training has ended before its last step."""
        early, standing = self._spec.early_stopping, self.standing
        assert early is not None, "ends early only when asked to"
        assert standing is not None, "ends early after an evaluation"
        progress = f"progress of at least {early.min_delta:g}" if early.min_delta else "progress"
        when = "the last evaluation" if standing.waited == 1 else f"{standing.waited} evaluations"
        return (
            f"stopped early after {standing.step} of {self._of} steps: no {progress} in {when}; "
            f"the lowest loss was {standing.best_loss:.4f} at step {standing.best_step}, "
            f"and the adapter is that of step {self.step_to_export}"
        )

    def _write_samples(self, step: int) -> None:
        texts = write_samples(
            self._engine, self._prompts, self._tokenizer, self._spec.samples.max_new_tokens, self._goes_on,
            self._progress.portion,
        )  # fmt: skip
        for number, (prompt, text) in enumerate(zip(self._prompts, texts, strict=False)):  # fewer texts if interrupted
            self._progress.sample(step, number, prompt.text, text, prompt.expected)

    def _goes_on(self) -> bool:
        """Tells that something was done; whether no rank was asked to stop. Collective."""
        self._progress.portion()
        wants_to_stop = torch.tensor(float(self._stop.requested), device=self._engine.device)
        comm.all_reduce(wants_to_stop)
        return not bool(wants_to_stop)
