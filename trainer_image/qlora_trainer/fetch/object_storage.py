"""Downloads a model or a dataset from object storage."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from qlora_api import sources
from qlora_api.reasons import Reason
from qlora_api.spec import ObjectStorageSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.wanted import wanted
from qlora_trainer.object_storage.bucket import open_bucket
from qlora_trainer.object_storage.download import CutOffError, download, list_files, revision_of
from qlora_trainer.object_storage.fault import UNKNOWN_AUTHORITY, Fault, brief, fault_of


def fetch_from_object_storage(
    source: str, kind: str, storage: ObjectStorageSpec | None, folder: Path, files: str | None = None
) -> tuple[Path, str]:
    """Downloads `s3://bucket/prefix` into `folder`; what is there already is kept.

    Args:
        source: the source as written in the job.
        kind: `model` or `dataset`.
        storage: the store.
        folder: where the files go.
        files: pattern of the files that are wanted; None for all of the kind.

    Returns:
        The folder, or the file if the source is one object; and a digest of what was listed.

    Raises:
        TrainerError: ModelAccessDenied, ModelInvalid or DatasetInvalid, RateLimited, DiskFull, or TrainerFailed if
            the store cannot be reached.
    """
    location = sources.parse(source)
    bucket = open_bucket(location.root, storage)
    try:
        listed = list_files(bucket, location.path)
        is_one_object = [file.key for file in listed] == [location.path]
        patterns = wanted(kind, files)
        chosen = [file for file in listed if is_one_object or any(fnmatch(file.path, pattern) for pattern in patterns)]
        if not chosen:
            raise _nothing(source, kind, [file.path for file in listed])
        received = download(bucket, chosen, folder)
    except TrainerError:
        raise
    except Exception as error:
        raise explain(error, source, kind, storage) from error
    log.event("downloaded", source=source, files=len(chosen), bytes=received)
    return (folder / chosen[0].path if is_one_object else folder), revision_of(chosen)


def _nothing(source: str, kind: str, there: list[str]) -> TrainerError:
    found = f"only {', '.join(there[:12])}" + (", …" if len(there) > 12 else "") if there else "nothing"
    return TrainerError(
        _invalid(kind), f"{kind}.source {source}: there is {found}; write the prefix as the bucket has it"
    )


def _invalid(kind: str) -> Reason:
    return Reason.MODEL_INVALID if kind == "model" else Reason.DATASET_INVALID


def explain(error: Exception, source: str, kind: str, storage: ObjectStorageSpec | None) -> TrainerError:
    """The failure of a download with a reason and a sentence."""
    invalid = _invalid(kind)
    match fault_of(error):
        case Fault.DENIED:
            reason = Reason.MODEL_ACCESS_DENIED if kind == "model" else invalid
            advice = (
                "the store has refused the credentials; let them list the bucket and get its objects"
                if storage is not None and storage.credentials_secret is not None
                else "the bucket is not public; write objectStorage.credentialsSecret"
            )
        case Fault.ABSENT:
            reason, advice = invalid, "no such bucket; check its name, and objectStorage.endpoint"
        case Fault.REGION:
            reason, advice = invalid, "the bucket is in another region; write it as objectStorage.region"
        case Fault.CERTIFICATE:
            reason, advice = invalid, UNKNOWN_AUTHORITY
        case Fault.CHANGED:
            reason, advice = invalid, "an object was replaced during the download; wait until the upload is complete"
        case Fault.THROTTLED:
            reason, advice = Reason.RATE_LIMITED, "the store asks to come back later; start fewer jobs at a time"
        case Fault.FULL:
            reason, advice = Reason.DISK_FULL, "does not fit on the node's disk; use a node with more space"
        case _:
            reason = invalid if isinstance(error, ValueError) else Reason.TRAINER_FAILED
            advice = "the pods must reach the store; check objectStorage.endpoint"
            if isinstance(error, (CutOffError, ValueError)):
                advice = "upload the object again"
    return TrainerError(reason, f"{kind}.source {source}: {advice} ({brief(error)})")
