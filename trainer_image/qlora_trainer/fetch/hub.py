"""Downloads a model or a dataset from the Hugging Face hub."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from qlora_api import names
from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.wanted import wanted


def fetch_from_hub(
    source: str, kind: str, revision: str | None, folder: Path, files: str | None = None
) -> tuple[Path, str]:
    """Downloads `hf://organisation/name` into `folder`; what is there already is kept.

    Args:
        source: the source as written in the job.
        kind: `model` or `dataset`.
        revision: commit of a model; the newest one if None.
        folder: where the files go.
        files: pattern of the files that are wanted; None for all of the kind.

    Returns:
        The folder, and the commit that was downloaded.

    Raises:
        TrainerError: ModelAccessDenied, ModelInvalid or DatasetInvalid, RateLimited, DiskFull, or TrainerFailed if
            the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    repository = source.removeprefix("hf://").rstrip("/")
    revision = revision if kind == "model" else None
    api = HfApi(token=os.environ.get(names.TOKEN_VARIABLE) or False)
    try:
        commit = api.repo_info(repository, repo_type=kind, revision=revision, timeout=30).sha or "main"
        api.snapshot_download(
            repository,
            repo_type=kind,
            revision=commit,
            local_dir=folder,
            allow_patterns=wanted(kind, files),
        )
    except Exception as error:
        raise explain(error, source, kind, revision) from error
    return folder, commit


def explain(error: Exception, source: str, kind: str, revision: str | None) -> TrainerError:
    """The failure of a download with a reason and a sentence."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    field = f"{kind}.source {source}"
    invalid = Reason.MODEL_INVALID if kind == "model" else Reason.DATASET_INVALID
    match error:
        case GatedRepoError():
            return TrainerError(
                Reason.MODEL_ACCESS_DENIED,
                f"{field}: the hub asks for its licence to be accepted; accept it there and write model.tokenSecret",
            )
        case RevisionNotFoundError():
            return TrainerError(invalid, f"{field}: has no revision {revision}; write the 40 digits of a commit of it")
        case RepositoryNotFoundError():
            return TrainerError(
                Reason.MODEL_ACCESS_DENIED if kind == "model" else invalid,
                f"{field}: not on the hub, or not open to this token; check the name, or write model.tokenSecret",
            )
        case HfHubHTTPError() if error.response is not None and error.response.status_code == 429:
            return TrainerError(
                Reason.RATE_LIMITED,
                f"{field}: the hub answers 'too many requests'; try later, or write model.tokenSecret",
            )
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return TrainerError(
                Reason.DISK_FULL, f"{field}: the download does not fit on the node's disk; use a node with more space"
            )
    return TrainerError(
        Reason.TRAINER_FAILED,
        f"{field}: {type(error).__name__}: {error}; the pods must reach the hub, or use a pvc:// source",
    )
