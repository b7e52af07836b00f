"""What a rank does, phase after phase."""

from __future__ import annotations

import logging
import os
import traceback
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
from qlora_trainer.fetch.families import family_of
from qlora_trainer.fused.choice import all_agree, choose
from qlora_trainer.job import load_job
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank.adalora import RankAllocation
from qlora_trainer.rank.batches import total_steps
from qlora_trainer.rank.chart import Chart
from qlora_trainer.rank.claims import make_claim
from qlora_trainer.rank.data import Dataset, load_dataset, wait_for_dataset
from qlora_trainer.rank.digests import FileDigests
from qlora_trainer.rank.engine import make_engine
from qlora_trainer.rank.evaluation import Evaluation
from qlora_trainer.rank.finish import finish
from qlora_trainer.rank.fit import fitted, with_kernels
from qlora_trainer.rank.foresight import foresee
from qlora_trainer.rank.history import append_start
from qlora_trainer.rank.isolation import check_isolation
from qlora_trainer.rank.journal import Journal, Reporter
from qlora_trainer.rank.loop import train
from qlora_trainer.rank.make_data import make_dataset, make_held_out
from qlora_trainer.rank.memory import gpu_bytes
from qlora_trainer.rank.model import load_model
from qlora_trainer.rank.output import write_adapter
from qlora_trainer.rank.progress import ProgressWriter
from qlora_trainer.rank.resume import agree_on_checkpoint, agree_where_to_begin, check_same_data, standing_of
from qlora_trainer.rank.saver import Saver
from qlora_trainer.rank.stage3 import has_shares
from qlora_trainer.rank.state import gather_parameters, restore_state
from qlora_trainer.rank.stop import StopSignal
from qlora_trainer.rank.tensorboard import TensorBoard
from qlora_trainer.rank.tokenizer import is_processor, load_reader
from qlora_trainer.rank.too_large import too_large
from qlora_trainer.rank.trackers import trackers
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
        dataset, held_out = _datasets(paths, job, sources, is_first=local_rank == 0)
    with log.phase("rendezvous", rank=rank):
        deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", verbose=False)

    claim = make_claim(job, output)
    finished, checkpoint = agree_where_to_begin(claim, rank, is_first=local_rank == 0)
    if finished is not None:
        log.event("already_finished", adapter=str(output / "adapter"))
        return finish(claim, job, sources, rank, stop, {**finished, "fromStep": finished["step"]})

    job = fitted(job, Path(sources.model), dataset, device)
    predicted = foresee(job.spec, Path(sources.model), dataset, gpu_bytes(device))
    with log.phase("load_model", rank=rank):
        model = load_model(sources.model, job.spec, device)
        is_whole = not has_shares(model)
        if dataset.is_packed and is_whole:
            check_isolation(model, job.spec.model.source)
    with log.phase("choose_kernels", rank=rank):
        kernels = choose(model, job.spec, device, dataset.is_packed, all_agree(device))
        if not kernels.is_first:
            told = with_kernels(job, kernels.kernels).spec
            predicted = foresee(told, Path(sources.model), dataset, gpu_bytes(device))
    with log.phase("initialize", rank=rank):
        engine = make_engine(model, job)
        if dataset.is_packed and not is_whole:  # the engine gathers what a forward pass reads
            check_isolation(engine.module, job.spec.model.source)
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
    if held_out is not None:
        facts["heldOutSha256"] = held_out.sha256
    check_same_data(checkpoint, facts)
    standing = standing_of(checkpoint)
    progress = ProgressWriter(
        job,
        paths.progress if local_rank == 0 else None,
        _reporters(job, output, paths.work, from_step) if rank == 0 else [],
        of,
        from_step,
        loss=None if checkpoint is None else checkpoint.facts["loss"],
        standing=standing,
        predicted_memory=predicted,
    )
    evaluation = None
    if held_out is not None:
        reader = load_reader(sources.model, job.spec.dataset)
        tokenizer = reader.tokenizer if is_processor(reader) else reader
        evaluation = Evaluation(
            job, engine, held_out, tokenizer, of, standing, progress, stop, kernels.loss_sum
        )  # fmt: skip
    log.event("training", rank=rank, from_step=from_step, of=of, sequences=len(dataset))
    digests = None
    if rank == 0:
        append_start(output, job, from_step)
        digests = FileDigests(Path(sources.model))
    checkpoints = job.spec.checkpoint
    more = dict if allocation is None else allocation.state
    saver = Saver(
        claim, rank, parse_duration(checkpoints.every), checkpoints.keep, facts, progress, more,
        lambda: evaluation.standing if evaluation else None,
    )  # fmt: skip
    try:
        done = train(
            engine, dataset, job, from_step, of, saver, progress, stop, allocation, evaluation, kernels.loss_sum
        )
    except torch.OutOfMemoryError as error:
        traceback.print_exc()
        return too_large(error, job.spec, rank)
    progress.close()
    figures = {"step": progress.progress.step, "of": of, "fromStep": from_step, "loss": progress.progress.loss}
    if not done:
        return termination.failed(
            Reason.STOPPED,
            f"asked to stop; the checkpoint of step {figures['step']} is complete",
            **{key: value for key, value in figures.items() if value is not None},
        )
    if evaluation is not None:
        figures |= _result(evaluation, progress, of)
        if evaluation.step_to_export != figures["step"]:
            with log.phase("restore_best", rank=rank, step=evaluation.step_to_export):
                best = agree_on_checkpoint(claim, evaluation.step_to_export, rank, is_first=local_rank == 0)
                restore_state(engine, best.load(), best.step)
    parameters = gather_parameters(engine)
    if digests is not None:
        claim.check()
        with log.phase("digest_model"):
            model_sha256 = digests.result()
        with log.phase("write_adapter"):
            write_adapter(engine, parameters, output, job, sources, model_sha256, dataset.sha256, figures)
            claim.publish_adapter()
    comm.barrier()
    del engine, model, parameters
    return finish(claim, job, sources, rank, stop, figures)


def _device(job: JobFile, local_rank: int) -> torch.device:
    if job.spec.node.accelerator == "cpu":
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _datasets(
    paths: PodPaths, job: JobFile, sources: ResolvedSources, is_first: bool
) -> tuple[Dataset, Dataset | None]:
    """What is learned, and what is held out."""
    evaluates = job.spec.evaluation is not None
    family = family_of(Path(sources.model))
    makes = is_first and not paths.tokens.exists()
    reader = load_reader(sources.model, job.spec.dataset) if makes or family is not None else None
    if makes:
        if evaluates:
            make_held_out(paths.held_out_tokens, sources.held_out_files, job.spec, reader)
        make_dataset(paths.tokens, sources.dataset_files, job.spec, reader)
    wait_for_dataset(paths.tokens)
    learned = load_dataset(paths.tokens, reader, family)
    return learned, load_dataset(paths.held_out_tokens, reader, family) if evaluates else None


def _reporters(job: JobFile, output: Path, scratch: Path, from_step: int) -> list[Reporter]:
    """Where the figures go; the chart is drawn from what the journal before it has written."""
    return [Journal(output), TensorBoard(output, from_step), Chart(output), *trackers(job, scratch)]


def _result(evaluation: Evaluation, progress: ProgressWriter, of: int) -> dict[str, Any]:
    """What the evaluations say about the adapter."""
    told = progress.progress.evaluation
    figures: dict[str, Any] = {"evaluation": told and told.to_json(), "exportedStep": evaluation.step_to_export}
    return {**figures, "message": evaluation.ending()} if progress.progress.step < of else figures
