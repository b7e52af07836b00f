"""Which claim goes with which destination."""

from __future__ import annotations

from pathlib import Path

from qlora_api import sources
from qlora_api.job_file import JobFile
from qlora_trainer.rank.claim import Claim


def make_claim(job: JobFile, output: Path) -> Claim:
    """The claim of a job's output.

    Args:
        job: the job.
        output: the folder that the trainer writes to: on the volume, or of the pod.
    """
    destination = job.spec.output.destination
    if sources.parse(destination).scheme != "s3":
        return Claim(output, job.uid, job.attempt)
    from qlora_trainer.rank.bucket_claim import BucketClaim

    storage, keep = job.spec.object_storage, job.spec.checkpoint.keep
    return BucketClaim(output, job.uid, job.attempt, destination, storage, keep)
