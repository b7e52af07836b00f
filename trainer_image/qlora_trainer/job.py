"""Reads `job.json`."""

from __future__ import annotations

from pydantic import ValidationError

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_trainer.deepspeed_config import with_deepspeed_config
from qlora_trainer.errors import TrainerError
from qlora_trainer.paths import PodPaths


def load_job(paths: PodPaths) -> JobFile:
    """The job of this pod, with the figures of its own DeepSpeed configuration.

    Raises:
        TrainerError: the file is missing or does not fit the API of this image, or that configuration is at fault.
    """
    try:
        return with_deepspeed_config(JobFile.model_validate_json(paths.job_file.read_bytes()))
    except OSError as error:
        raise TrainerError(
            Reason.TRAINER_FAILED,
            f"{paths.job_file}: {error.strerror}; the operator mounts it from the ConfigMap of the attempt",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise TrainerError(
            Reason.TRAINER_FAILED,
            f"{paths.job_file}: {field}: {first['msg']}; the trainer image and the operator must be of one version",
        ) from error
