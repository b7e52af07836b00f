"""The termination message: what the operator reads when a container has ended."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_api.report import TERMINATION_LIMIT, Termination

MESSAGE_LIMIT = 2048


def failed(reason: Reason, message: str, **fields: object) -> Termination:
    """A failure; a message that is too long for the API is cut."""
    return Termination.model_validate(
        {"outcome": "Failed", "reason": reason, "message": message[:MESSAGE_LIMIT], **fields}
    )


def encode(termination: Termination) -> bytes:
    """JSON of at most 4096 bytes: Kubernetes keeps no more, and half a message is no JSON."""
    data = termination.model_dump_json(by_alias=True, exclude_none=True).encode()
    while len(data) > TERMINATION_LIMIT:
        shorter = termination.message[: len(termination.message) * 3 // 4]
        assert shorter != termination.message, "only the message can be long"
        termination = termination.model_copy(update={"message": shorter})
        data = termination.model_dump_json(by_alias=True, exclude_none=True).encode()
    return data


def write(path: Path, termination: Termination) -> None:
    """Writes the message in place: the file is a mount, which cannot be renamed over.

    A pod without that file goes on: the message is also printed.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(termination))
