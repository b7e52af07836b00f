"""The training loop."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from deepspeed import comm

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fused.router import LossOfModel
from qlora_trainer.rank.adalora import RankAllocation
from qlora_trainer.rank.batches import global_batch, micro_batches
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.evaluation import Evaluation, Verdict
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.progress import ProgressWriter
from qlora_trainer.rank.saver import Saver
from qlora_trainer.rank.schedule import learning_rate
from qlora_trainer.rank.stop import StopSignal


def train(
    engine: Any, dataset: Dataset, job: JobFile, from_step: int, of: int, saver: Saver, progress: ProgressWriter,
    stop: StopSignal, allocation: RankAllocation | None = None, evaluation: Evaluation | None = None,
    loss_of: LossOfModel | None = None,
) -> bool:  # fmt: skip
    """Trains from optimizer step `from_step` to `of`, or until the evaluation ends it. Collective.

    The loss is the mean over all learned tokens of the global batch. DeepSpeed averages the ranks' gradients, so each
    micro-batch contributes its sum x world size / learned tokens, and the result depends neither on the world size nor
    on how a rank's share is cut into micro-batches.

    Args:
        engine: around the PEFT model.
        dataset: what is learned.
        job: the job.
        from_step: the first step.
        of: optimizer steps in all.
        saver: of checkpoints.
        progress: told of each step.
        stop: whether the pods were asked to stop.
        allocation: AdaLoRA's.
        evaluation: of held-out rows.
        loss_of: how the loss of a micro-batch is computed; None: as PEFT and transformers do.

    Returns:
        Whether all is done; False if the pods were asked to stop. A checkpoint is on disk either way.

    Raises:
        TrainerError: LossDiverged; or what a checkpoint ran into.
    """
    training = job.spec.training
    rank, world_size = comm.get_rank(), comm.get_world_size()
    share = training.global_batch_size // world_size
    stop.is_training = True
    verdict = evaluation.after(from_step) if evaluation else Verdict.GO_ON  # one that was interrupted
    if verdict is Verdict.SAVE and progress.progress.loss is not None:
        saver.save(engine, from_step, progress.progress.loss)
    stopped = verdict is Verdict.INTERRUPTED
    for step in range(from_step, of):
        if stopped or (evaluation and evaluation.has_converged):
            break
        begin = time.monotonic()
        rate = learning_rate(step, of, training)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        batch = global_batch(step, dataset.mix, training)
        learned = int(dataset.targets[batch].sum())
        portions = micro_batches(batch, rank, world_size, training.micro_batch_size)
        total = torch.zeros((), dtype=torch.float64, device=engine.device)
        for number, sequences in enumerate(portions):
            position = step * training.global_batch_size + rank * share + number * training.micro_batch_size
            torch.manual_seed(training.seed + position)  # dropout is a function of seed and position in the data
            loss = (loss_of or loss_sum)(engine, collate(dataset, sequences))
            total += loss.detach().double()
            is_last = number == len(portions) - 1
            penalty = allocation.penalty() if allocation is not None and is_last else 0.0
            engine.backward(loss * (world_size / learned) + penalty, scale_wrt_gas=False)
            if not is_last:
                engine.step()
        agreed = torch.stack([total, *_votes(engine.device, stop.requested, saver.is_due)])
        comm.all_reduce(agreed)
        if allocation is not None:
            allocation.before_step()
        engine.step()
        mean_loss = float(agreed[0]) / learned  # after the step, which the GPU has been given meanwhile
        if not math.isfinite(mean_loss):
            raise TrainerError(
                Reason.LOSS_DIVERGED,
                f"the loss is {mean_loss} at step {step + 1}; write a smaller training.learningRate than "
                f"{training.learning_rate:g}, or a larger warmupRatio",
            )
        if allocation is not None:
            allocation.after_step(step + 1)
        norm = float(engine.get_global_grad_norm() or 0.0)
        progress.step(step + 1, mean_loss, rate, norm, int(dataset.lengths[batch].sum()), time.monotonic() - begin)
        stopped, due = bool(agreed[1]), bool(agreed[2])
        verdict = evaluation.after(step + 1) if evaluation and not stopped else Verdict.GO_ON
        stopped = stopped or verdict is Verdict.INTERRUPTED
        if stopped or due or step + 1 == of or verdict is Verdict.SAVE:
            saver.save(engine, step + 1, mean_loss)
    saver.wait()
    if evaluation is not None and evaluation.has_converged:
        return True
    return progress.progress.step == of and not (evaluation and evaluation.is_due(of))


def _votes(device: torch.device, *votes: bool) -> list[torch.Tensor]:
    """What a rank wants; summed over the ranks, anything but zero is a yes that all of them see at the same step."""
    return [torch.tensor(float(vote), dtype=torch.float64, device=device) for vote in votes]
