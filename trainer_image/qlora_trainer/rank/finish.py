"""What follows once the adapter is written: it is uploaded to the hub, and merged into its base, if the job says so."""

from __future__ import annotations

from typing import Any

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_trainer import log, termination
from qlora_trainer.errors import StopRequested
from qlora_trainer.push import push
from qlora_trainer.rank.claim import Claim
from qlora_trainer.rank.output import ADAPTER, is_merged, write_merged
from qlora_trainer.rank.stop import StopSignal
from qlora_trainer.sources import ResolvedSources


def finish(
    claim: Claim, job: JobFile, sources: ResolvedSources, rank: int, stop: StopSignal, figures: dict[str, Any]
) -> Termination:
    """Does what is not done yet, also in an attempt that finds the adapter finished.

    Rank 0 is alone with it: the others need not wait, and have no time limit.

    Args:
        claim: the output.
        job: the job.
        sources: where its sources lie.
        rank: this rank.
        stop: interrupts the merging; what was uploaded stays.
        figures: of the training, for the termination message.

    Raises:
        TrainerError: the hub or the store has refused the upload, or the base cannot be merged with.
    """
    known = {key: value for key, value in figures.items() if value is not None}
    if rank == 0:
        stop.is_training = False
        try:
            _push(claim, job)
            _merge(claim, job, sources)
        except StopRequested:
            message = "asked to stop; the adapter is complete, what output.pushTo and output.merge ask for may not be"
            return termination.failed(Reason.STOPPED, message, **known)
    return Termination.model_validate({"outcome": "Succeeded", "adapter": str(claim.output / ADAPTER), **known})


def _push(claim: Claim, job: JobFile) -> None:
    push_to = job.spec.output.push_to
    if push_to is not None:
        with log.phase("push_adapter", to=push_to):
            log.event("pushed", to=push_to, commit=push(claim.output / ADAPTER, push_to))


def _merge(claim: Claim, job: JobFile, sources: ResolvedSources) -> None:
    if job.spec.output.merge and not is_merged(claim.output, job.uid):
        with log.phase("merge"):
            write_merged(claim.output, job, sources)
            claim.publish_merged()
