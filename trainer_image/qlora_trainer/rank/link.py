"""Whether gradients travel between the ranks in half the bytes: `deepspeed.communicationDtype: auto`.

All ranks decide alike, since all know the slowest one's figure. Those of a later attempt may find another one.
"""

from __future__ import annotations

import time

import torch
from deepspeed import comm
from deepspeed.accelerator import get_accelerator

from qlora_api.job_file import JobFile
from qlora_trainer import log

SLOW = 0.1
"""Seconds for adding up the adapter's gradients, once a step, above which half the bytes are worth the rounding."""
LARGEST = 64_000_000
"""Elements that are sent to measure, 256 MB: longer messages take longer in proportion."""
ROUNDS = 2
"""The faster one counts: what else the processor did is not the link's."""


def with_communication_dtype(job: JobFile, trained: int) -> JobFile:
    """The job with the data type in which its gradients travel. Collective with `communicationDtype: auto`.

    Args:
        job: the job.
        trained: parameters that are trained.
    """
    if job.spec.deepspeed.communication_dtype != "auto":
        return job
    seconds = agreed_seconds(trained)
    chosen = choice(seconds)
    log.event("link_measured", seconds=round(seconds, 4), trained=trained, communication_dtype=chosen)
    deepspeed = job.spec.deepspeed.model_copy(update={"communication_dtype": chosen})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"deepspeed": deepspeed})})


def choice(seconds: float) -> str:
    """float32 or bfloat16, by what it takes in float32."""
    return "bfloat16" if seconds > SLOW else "float32"


def agreed_seconds(elements: int) -> float:
    """Seconds that the slowest rank needs to add up so many float32 figures over all ranks. Collective."""
    slowest = torch.tensor([own_seconds(elements)], dtype=torch.float64, device=_device())
    comm.all_reduce(slowest, op=comm.ReduceOp.MAX)
    return float(slowest)


def own_seconds(elements: int) -> float:
    """The same on this rank; nothing is sent where it is alone. Collective.

    The first message opens the connections and makes the ranks begin together, so it is not measured.
    """
    if comm.get_world_size() == 1 or elements == 0:
        return 0.0
    message = torch.zeros(min(elements, LARGEST), device=_device())
    _added_up(message)
    return min(_added_up(message) for _ in range(ROUNDS)) * elements / len(message)


def _added_up(message: torch.Tensor) -> float:
    """Seconds until the sum is there; a GPU is waited for."""
    get_accelerator().synchronize()
    begin = time.monotonic()
    comm.all_reduce(message)
    get_accelerator().synchronize()
    return time.monotonic() - begin


def _device() -> str:
    """Where the process group sends from."""
    return str(get_accelerator().current_device_name())
