"""Where a job goes on: what rank 0 finds in the output folder, told to all ranks."""

from __future__ import annotations

from typing import Any

import torch
from deepspeed import comm

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.checkpoint import Checkpoint, checkpoint_of, newest_checkpoint, remove_unfinished
from qlora_trainer.rank.claim import Claim
from qlora_trainer.rank.output import finished_facts, is_finished
from qlora_trainer.rank.standing import Standing


def agree_where_to_begin(claim: Claim, rank: int, is_first: bool) -> tuple[dict[str, Any] | None, Checkpoint | None]:
    """Facts of the training if the job is finished, and else its newest checkpoint.

    Collective: rank 0 looks, and all see the same.

    Args:
        claim: the output.
        rank: this rank.
        is_first: whether it is the first of its pod.
    """
    found: list[Any] = [None, None]
    if rank == 0:
        claim.take()
        checkpoints = claim.output / "checkpoints"
        remove_unfinished(checkpoints)
        facts = finished_facts(claim.output) if is_finished(claim.output, claim.uid) else None
        found = [facts, newest_checkpoint(checkpoints, claim.uid)]
    torch.distributed.broadcast_object_list(found, src=0)
    finished, checkpoint = found
    if finished is not None or checkpoint is None:
        return finished, None
    _bring(claim, checkpoint.step, is_first)
    return None, _here(claim, checkpoint)


def agree_on_checkpoint(claim: Claim, step: int, rank: int, is_first: bool) -> Checkpoint:
    """The checkpoint of a step. Collective: rank 0 looks.

    Args:
        claim: the output.
        step: of the checkpoint.
        rank: this rank.
        is_first: whether it is the first of its pod.

    Raises:
        TrainerError: it is not whole any more.
    """
    _bring(claim, step, is_first)
    found: list[Any] = [None]
    if rank == 0:
        found = [checkpoint_of(claim.output / "checkpoints", step, claim.uid)]
    torch.distributed.broadcast_object_list(found, src=0)
    checkpoint: Checkpoint | None = found[0]
    if checkpoint is None:
        raise TrainerError(
            Reason.TRAINER_FAILED,
            f"checkpoints/step-{step}, which evaluation.export: best asks for, is damaged or gone; put it back, or "
            "create the job again with evaluation.export: last",
        )
    return _here(claim, checkpoint)


def _bring(claim: Claim, step: int, is_first: bool) -> None:
    """Sees to it that every pod has the checkpoint of a step. Collective."""
    if is_first:
        claim.bring(step)
    comm.barrier()


def _here(claim: Claim, checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint in the folder of this pod."""
    return checkpoint._replace(folder=claim.output / "checkpoints" / checkpoint.folder.name)


def standing_of(checkpoint: Checkpoint | None) -> Standing | None:
    """What the evaluations until the checkpoint have shown."""
    known = checkpoint.facts.get("standing") if checkpoint is not None else None
    return None if known is None else Standing.from_json(known)


def check_same_data(checkpoint: Checkpoint | None, facts: dict[str, Any]) -> None:
    """The order of the sequences is a function of their number, so other data would silently change the run.

    Raises:
        TrainerError: DatasetInvalid, if the files have changed.
    """
    if checkpoint is None:
        return
    for fact, field in (("datasetSha256", "dataset.source"), ("heldOutSha256", "evaluation.source")):
        if checkpoint.facts.get(fact) != facts.get(fact):
            raise TrainerError(
                Reason.DATASET_INVALID,
                f"{field} has changed since {checkpoint.folder.name} was saved; put the old files back, "
                "or delete the job and create it again",
            )
