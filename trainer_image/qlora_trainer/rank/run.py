"""What a rank does, phase after phase."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed import comm

from qlora_api.durations import parse_duration
from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_trainer import log, termination
from qlora_trainer.errors import StopRequested, TrainerError
from qlora_trainer.job import load_job
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank.adalora import RankAllocation
from qlora_trainer.rank.batches import total_steps
from qlora_trainer.rank.checkpoint import Checkpoint, newest_checkpoint, remove_unfinished
from qlora_trainer.rank.claim import Claim
from qlora_trainer.rank.data import Dataset, load_dataset, wait_for_dataset
from qlora_trainer.rank.digests import FileDigests
from qlora_trainer.rank.engine import make_engine
from qlora_trainer.rank.history import append_start
from qlora_trainer.rank.isolation import check_isolation
from qlora_trainer.rank.loop import train
from qlora_trainer.rank.make_data import make_dataset
from qlora_trainer.rank.model import load_model
from qlora_trainer.rank.output import finished_facts, is_finished, is_merged, write_adapter, write_merged
from qlora_trainer.rank.progress import ProgressWriter
from qlora_trainer.rank.saver import Saver
from qlora_trainer.rank.state import gather_parameters, restore_state
from qlora_trainer.rank.stop import StopSignal
from qlora_trainer.rank.tokenizer import load_tokenizer
from qlora_trainer.sources import ResolvedSources


def run(paths: PodPaths, rank: int, stop: StopSignal) -> Termination:
    """Trains the job to its end, or until the pods are asked to stop.

    Raises:
        Exception: whatever went wrong; `outcome.explain` says what it means.
    """
    log.event("imported", rank=rank)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    job, sources = load_job(paths), ResolvedSources.read(paths)
    output = Path(sources.output)
    local_rank = int(os.environ["LOCAL_RANK"])
    device = _device(job, local_rank)

    with log.phase("tokenize", rank=rank):
        dataset = _dataset(paths, job, sources, is_first=local_rank == 0)
    with log.phase("rendezvous", rank=rank):
        deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", verbose=False)

    claim = Claim(output, job.uid, job.attempt)
    finished, checkpoint = _agree_where_to_begin(claim, rank)
    if finished:
        log.event("already_finished", adapter=str(output / "adapter"))
        facts = finished_facts(output)
        return _finish(output, job, sources, rank, stop, {**facts, "fromStep": facts["step"]})

    with log.phase("load_model", rank=rank):
        model = load_model(sources.model, job.spec, device)
        if dataset.is_packed:
            check_isolation(model, job.spec.model.source)
    with log.phase("initialize", rank=rank):
        engine = make_engine(model, job)
    of = total_steps(dataset.mix, job.spec.training)
    allocation = RankAllocation(engine, of) if job.spec.adapter.method == "adalora" else None
    from_step = 0
    if checkpoint is not None:
        with log.phase("restore", rank=rank, step=checkpoint.step):
            state = checkpoint.load()
            restore_state(engine, state, checkpoint.step)
            if allocation is not None:
                allocation.restore(state)
        from_step = checkpoint.step

    facts = {"uid": job.uid, "attempt": job.attempt, "of": of, "datasetSha256": dataset.sha256}
    _check_same_data(checkpoint, facts)
    progress = ProgressWriter(
        job,
        paths.progress if local_rank == 0 else None,
        output / "log.jsonl" if rank == 0 else None,
        of,
        from_step,
        loss=None if checkpoint is None else checkpoint.facts["loss"],
    )
    log.event("training", rank=rank, from_step=from_step, of=of, sequences=len(dataset))
    digests = None
    if rank == 0:
        append_start(output, job, from_step)
        digests = FileDigests(Path(sources.model))
    checkpoints = job.spec.checkpoint
    more = dict if allocation is None else allocation.state
    saver = Saver(claim, rank, parse_duration(checkpoints.every), checkpoints.keep, facts, progress, more)
    done = train(engine, dataset, job, from_step, of, saver, progress, stop, allocation)
    figures = {"step": progress.progress.step, "of": of, "fromStep": from_step, "loss": progress.progress.loss}
    if not done:
        return termination.failed(
            Reason.STOPPED,
            f"asked to stop; the checkpoint of step {figures['step']} is complete",
            **{key: value for key, value in figures.items() if value is not None},
        )
    parameters = gather_parameters(engine)
    if digests is not None:
        claim.check()
        with log.phase("digest_model"):
            model_sha256 = digests.result()
        with log.phase("write_adapter"):
            write_adapter(engine, parameters, output, job, sources, model_sha256, dataset.sha256, figures)
    comm.barrier()
    del engine, model, parameters
    return _finish(output, job, sources, rank, stop, figures)


def _device(job: JobFile, local_rank: int) -> torch.device:
    if job.spec.node.accelerator == "cpu":
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _dataset(paths: PodPaths, job: JobFile, sources: ResolvedSources, is_first: bool) -> Dataset:
    if is_first and not paths.tokens.exists():
        files = [[Path(file) for file in part] for part in sources.dataset]
        make_dataset(paths.tokens, files, job.spec, load_tokenizer(sources.model, job.spec.dataset))
    wait_for_dataset(paths.tokens)
    return load_dataset(paths.tokens)


def _agree_where_to_begin(claim: Claim, rank: int) -> tuple[bool, Checkpoint | None]:
    """Whether the job is finished, and else its newest checkpoint. Rank 0 looks, so that all see the same."""
    found: list[Any] = [False, None]
    if rank == 0:
        claim.take()
        checkpoints = claim.output / "checkpoints"
        remove_unfinished(checkpoints)
        found = [is_finished(claim.output, claim.uid), newest_checkpoint(checkpoints, claim.uid)]
    torch.distributed.broadcast_object_list(found, src=0)
    return found[0], found[1]


def _check_same_data(checkpoint: Checkpoint | None, facts: dict[str, Any]) -> None:
    """The order of the sequences is a function of their number, so other data would silently change the run."""
    if checkpoint is None:
        return
    if checkpoint.facts["datasetSha256"] != facts["datasetSha256"]:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"dataset.source has changed since {checkpoint.folder.name} was saved; put the old files back, "
            "or delete the job and create it again",
        )


def _finish(
    output: Path, job: JobFile, sources: ResolvedSources, rank: int, stop: StopSignal, figures: dict[str, Any]
) -> Termination:
    """What the adapter is needed for. Rank 0 is alone with it: the others need not wait, and have no time limit."""
    if rank == 0 and job.spec.output.merge and not is_merged(output, job.uid):
        stop.is_training = False
        try:
            with log.phase("merge"):
                write_merged(output, job, sources)
        except StopRequested:
            known = {key: value for key, value in figures.items() if value is not None}
            return termination.failed(Reason.STOPPED, "asked to stop while merging; the adapter is complete", **known)
    return _succeeded(output, figures)


def _succeeded(output: Path, figures: dict[str, Any]) -> Termination:
    known = {key: value for key, value in figures.items() if value is not None}
    return Termination.model_validate({"outcome": "Succeeded", "adapter": str(output / "adapter"), **known})
