"""The init container around `fetch`: every failure becomes a termination message."""

from __future__ import annotations

import errno
import traceback

from qlora_api.reasons import Reason
from qlora_trainer import log, termination
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.main import fetch
from qlora_trainer.job import load_job
from qlora_trainer.paths import PodPaths


def run_fetch(paths: PodPaths) -> int:
    """Fetches; the exit code is 0, or 1 with a termination message."""
    try:
        fetch(load_job(paths), paths)
    except TrainerError as error:
        reason, message = error.reason, error.message
    except OSError as error:
        traceback.print_exc()
        reason = Reason.DISK_FULL if error.errno == errno.ENOSPC else Reason.TRAINER_FAILED
        message = f"{error.filename}: {error.strerror}"
    except Exception as error:
        traceback.print_exc()
        reason, message = Reason.TRAINER_FAILED, f"{type(error).__name__}: {error}"
    else:
        log.event("fetched")
        return 0
    log.event("failed", reason=reason, message=message)
    termination.write(paths.termination_log, termination.failed(reason, message))
    return 1
