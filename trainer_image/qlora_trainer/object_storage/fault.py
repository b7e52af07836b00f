"""What an error of the store means, whatever class it has: the library tells throttling by its text only."""

from __future__ import annotations

import errno
import re
from enum import Enum, auto

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CAUSE = re.compile(r"""(?:message: "([^"]+)"|(InvalidCertificate\(\s*\w+))""")
_BEFORE_DETAILS = "\n\nDebug source"


UNKNOWN_AUTHORITY = (
    "the store's certificate is signed by nobody that the trainer image knows; build an image with that authority "
    "and write it as node.image"
)


class Fault(Enum):
    """What went wrong."""

    DENIED = auto()
    ABSENT = auto()
    THROTTLED = auto()
    REGION = auto()
    CERTIFICATE = auto()
    CHANGED = auto()
    FULL = auto()
    OTHER = auto()


_FAULT_OF_STATUS = {
    301: Fault.REGION,
    401: Fault.DENIED,
    403: Fault.DENIED,
    404: Fault.ABSENT,
    412: Fault.CHANGED,
    429: Fault.THROTTLED,
    503: Fault.THROTTLED,
}
_FAULT_OF_CODE = {
    "AuthorizationHeaderMalformed": Fault.REGION,
    "ExpiredToken": Fault.DENIED,
    "InvalidAccessKeyId": Fault.DENIED,
    "InvalidToken": Fault.DENIED,
}
"""Codes of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html that come with status 400."""


def fault_of(error: Exception) -> Fault:
    """The kind of an error that a request, or writing what it has brought, has raised."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault.FULL
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    if code and code[1] in _FAULT_OF_CODE:
        return _FAULT_OF_CODE[code[1]]
    if status:
        return _FAULT_OF_STATUS.get(int(status[1]), Fault.OTHER)
    if "InvalidCertificate" in text:
        return Fault.CERTIFICATE
    return Fault.REGION if "incorrectly configured region" in text else Fault.OTHER


def brief(error: Exception) -> str:
    """Status and the store's own code if it has answered, else the error with its innermost cause."""
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    if code or status:
        return " ".join(match[1] for match in (status, code) if match)
    causes = ["".join("".join(match).split()) if match[1] else match[0] for match in _CAUSE.findall(text)]
    summary = text.partition(_BEFORE_DETAILS)[0].strip() or type(error).__name__
    return ": ".join([summary, *causes[-1:]])


def explain_output(error: Exception, destination: str) -> TrainerError:
    """The failure of reading or writing results with a reason and a sentence."""
    match fault_of(error):
        case Fault.DENIED:
            reason = Reason.OUTPUT_NOT_WRITABLE
            advice = "the store has refused the credentials; let them list the bucket, and get, put and delete objects"
        case Fault.ABSENT:
            reason, advice = Reason.OUTPUT_NOT_WRITABLE, "no such bucket; make it, or check objectStorage.endpoint"
        case Fault.REGION:
            reason = Reason.OUTPUT_NOT_WRITABLE
            advice = "the bucket is in another region; write it as objectStorage.region"
        case Fault.CERTIFICATE:
            reason, advice = Reason.OUTPUT_NOT_WRITABLE, UNKNOWN_AUTHORITY
        case Fault.THROTTLED:
            reason, advice = Reason.RATE_LIMITED, "the store asks to come back later; start fewer jobs at a time"
        case Fault.FULL:
            reason, advice = Reason.DISK_FULL, "the node's disk is full; use a node with more space"
        case _:
            reason = Reason.TRAINER_FAILED
            advice = "the pods must reach the store; check objectStorage.endpoint"
    return TrainerError(reason, f"output.destination {destination}: {advice} ({brief(error)})")
