"""Whether the hostfile says what the job says.

DeepSpeed takes a missing hostfile for a wish to train alone: the first pod would do so, and exit with 0.
"""

from __future__ import annotations

import re
from pathlib import Path

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError

_LINE = re.compile(r"^(\S+)\s+slots=(\d+)\s*$")  # deepspeed/launcher/runner.py, without trailing text


def check_hostfile(path: Path, job: JobFile) -> None:
    """Compares the hostfile with the job: the same hosts in the same order with the same slots.

    Raises:
        TrainerError: HostfileInvalid, with the first difference.
    """
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise _invalid(path, f"{error.strerror}; the operator mounts it from the ConfigMap of the attempt") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise _invalid(path, f"line {number} is {line!r}; a line is 'HOST slots=NUMBER'")
        found.append((match[1], int(match[2])))
    expected = [(host, job.slots) for host in job.hosts]
    if found == expected:
        return
    for rank, (seen, wanted) in enumerate(zip(found, expected, strict=False)):
        if seen != wanted:
            raise _invalid(
                path, f"host {rank} is '{seen[0]} slots={seen[1]}' instead of '{wanted[0]} slots={wanted[1]}'"
            )
    raise _invalid(path, f"{len(found)} hosts instead of {len(expected)}")


def _invalid(path: Path, fault: str) -> TrainerError:
    return TrainerError(Reason.HOSTFILE_INVALID, f"{path}: {fault}")


def completion_index(variable: str | None, job: JobFile) -> int:
    """This pod's place in the hostfile, from `JOB_COMPLETION_INDEX`, which Kubernetes sets in an Indexed Job.

    Raises:
        TrainerError: HostfileInvalid, if it is not set or there is no such host.
    """
    if variable is None or not variable.isdecimal() or int(variable) >= len(job.hosts):
        raise TrainerError(
            Reason.HOSTFILE_INVALID,
            f"JOB_COMPLETION_INDEX is {variable!r} and must be 0 to {len(job.hosts) - 1}; the pod has to belong to "
            "an Indexed Job",
        )
    return int(variable)
