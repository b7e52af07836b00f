"""What is done to the operator's requests."""

from __future__ import annotations

from enum import StrEnum


class WriteFault(StrEnum):
    """What happens to one write."""

    KILL_BEFORE = "operator killed before the write"
    KILL_AFTER = "operator killed after the write, before the answer"
    KILL_STALE = "operator killed after the write, its successor lists what was before it"
    CONFLICT = "409"
    TOO_MANY = "429"
    ERROR = "500"
    UNAVAILABLE = "503"
    RESET_BEFORE = "connection reset before the write"
    RESET_AFTER = "connection reset after the write"
    TIMEOUT = "write done, no answer"

    @property
    def kills(self) -> bool:
        return self in (WriteFault.KILL_BEFORE, WriteFault.KILL_AFTER, WriteFault.KILL_STALE)

    @property
    def comes_after_commit(self) -> bool:
        return self in (WriteFault.KILL_AFTER, WriteFault.KILL_STALE, WriteFault.RESET_AFTER, WriteFault.TIMEOUT)


ANSWERS = {
    WriteFault.CONFLICT: (409, "Conflict"),
    WriteFault.TOO_MANY: (429, "TooManyRequests"),
    WriteFault.ERROR: (500, "InternalError"),
    WriteFault.UNAVAILABLE: (503, "ServiceUnavailable"),
}
"""Status code and Kubernetes' word of the faults that are answers."""


class ReadFault(StrEnum):
    """What happens to every watch, or every list, while a job lives."""

    DROP = "every second event lost"
    DUPLICATE = "every event twice"
    DELAY = "every event 0.3 s late"
    FREEZE = "watches silent after their third event"
    GONE = "410 Gone after the third event"
    STALE_LIST = "every list is the one before it"
