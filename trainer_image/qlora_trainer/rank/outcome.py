"""How a rank ended, in the API's words: what it leaves for the supervisor."""

from __future__ import annotations

import errno
import resource

from qlora_api.reasons import Reason
from qlora_trainer.errors import StopRequested, TrainerError
from qlora_trainer.rank.memory import peak_gpu_bytes

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_PEER_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
_TIMED_OUT = ("Timed out", "timed out", "Timeout", "timeout")
_NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "not enough memory")


def explain(error: BaseException) -> tuple[Reason, str]:
    """Reason and sentence of an exception."""
    name, text = type(error).__name__, _last_line(error)
    match error:
        case TrainerError():
            return error.reason, error.message
        case StopRequested():
            return Reason.STOPPED, "stopped before the first step; nothing was lost"
        case OSError() if error.errno in _DISK_FULL:
            return Reason.DISK_FULL, f"{error.filename}: no space left; free some space or use a larger volume"
        case OSError() if error.errno in _NOT_WRITABLE:
            return (
                Reason.OUTPUT_NOT_WRITABLE,
                f"{error.filename}: {error.strerror}; the claim must be mounted read-write",
            )
    if "No space left on device" in text or "StorageFull" in text:  # safetensors raises its own class
        return Reason.DISK_FULL, "no space left on the output's volume; free some space or use a larger volume"
    if name == "OutOfMemoryError":
        return (
            Reason.GPU_OUT_OF_MEMORY,
            f"{text}; write a smaller training.microBatchSize or sequenceLength, or gradientCheckpointing: true",
        )
    if isinstance(error, MemoryError) or any(mark in text for mark in _NO_MEMORY):
        return Reason.HOST_OUT_OF_MEMORY, f"{text}; write more node.resources.memory, or a smaller microBatchSize"
    if any(mark in text for mark in _PEER_LOST):
        return Reason.PEER_LOST, f"lost the connection to another rank, whose pod says why ({name}: {text})"
    if any(mark in text for mark in _TIMED_OUT):
        return Reason.COLLECTIVE_TIMEOUT, f"waited in vain for another rank ({name}: {text})"
    return Reason.TRAINER_FAILED, f"{name}: {text}"


def peak_memory_bytes() -> int:
    """The most memory that this rank has used: of its GPU if it has one, else of the host."""
    gpu = peak_gpu_bytes()
    return gpu if gpu is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if len(lines) == 1 else " ".join(lines[:3]))[:1500] if lines else type(error).__name__
