"""Whether the output folder can be made and written."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError


def check_output(destination: str, folder: Path) -> None:
    """Makes the folder and writes a file in it.

    Raises:
        TrainerError: OutputNotWritable, or DiskFull.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe.") as probe:
            probe.write(b"probe")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = (
            "free some space or use a larger volume"
            if full
            else f"the claim must be mounted read-write and be writable for uid {os.geteuid()} from every node"
        )
        raise TrainerError(
            Reason.DISK_FULL if full else Reason.OUTPUT_NOT_WRITABLE,
            f"output.destination {destination}: cannot write {folder} ({error.strerror}); {advice}",
        ) from error
