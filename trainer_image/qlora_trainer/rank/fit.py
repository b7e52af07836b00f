"""Makes a job fit its GPUs, where it leaves micro-batch and checkpointing to the trainer: `training.fit: auto`.

All ranks decide alike, since all know the smallest GPU; so do the ranks of a later attempt, unless their GPUs differ.
An attempt after one whose memory did not suffice is told what it holds at once.
The result of the training does not depend on it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from deepspeed import comm

from qlora_api.estimate import Choice, Estimate, Rows, choose, estimate, least
from qlora_api.job_file import JobFile
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.fetch.weights import read_folder_shapes
from qlora_trainer.files import read_json
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.memory import gpu_bytes


def fitted(job: JobFile, model: Path, dataset: Dataset, device: torch.device) -> JobFile:
    """The job with the micro-batch and the checkpointing that it trains with. Collective with `fit: auto`, unless told.

    Args:
        job: the job.
        model: folder of the base.
        dataset: what is learned.
        device: of this rank.
    """
    if job.portion is not None:
        return with_choice(job, Choice(job.portion.micro_batch_size, job.portion.gradient_checkpointing))
    if job.spec.training.fit == "manual":
        return job
    own = gpu_bytes(device)
    smallest = torch.tensor([own or 0], device=device)
    comm.all_reduce(smallest, op=comm.ReduceOp.MIN)
    memory = int(smallest.item())
    choice = choice_for(job.spec, model, dataset, memory or None)
    log.event("fitted", micro_batch=choice.micro_batch, checkpointing=choice.checkpointing, smallest_gpu=memory)
    return with_choice(job, choice)


def choice_for(spec: QLoRAJobSpec, model: Path, dataset: Dataset, memory: int | None) -> Choice:
    """What fits into the memory with the rows that there are; without a GPU, or a known model, what needs least."""
    if memory is None:
        return least(spec)
    shapes, config = read_folder_shapes(model), read_json(model / "config.json") or {}
    length, learned = int(dataset.lengths.max()), int(dataset.targets.max())

    def estimate_of(choice: Choice) -> Estimate:
        return estimate(spec, shapes, config, choice, rows=Rows(length, choice.micro_batch * learned))

    try:
        return choose(spec, estimate_of, memory)
    except ValueError as error:
        log.event("memory_unknown", message=str(error))
        return least(spec)


def with_kernels(job: JobFile, kernels: str) -> JobFile:
    """The job as if it had named the way through its layers that it takes."""
    training = job.spec.training.model_copy(update={"kernels": kernels})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"training": training})})


def with_choice(job: JobFile, choice: Choice) -> JobFile:
    """The job as if it had been written so."""
    update = {"micro_batch_size": choice.micro_batch, "gradient_checkpointing": choice.checkpointing}
    training = job.spec.training.model_copy(update=update)
    return job.model_copy(update={"spec": job.spec.model_copy(update={"training": training})})
