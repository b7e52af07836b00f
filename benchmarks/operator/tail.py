"""What the API server's audit log says from a moment on.

While something is timed, the log is only searched for bytes: parsing it would cost what is measured its processor.
"""

from __future__ import annotations

import time
from pathlib import Path

from support.audit import Request, read_audit_log

PAUSE = 0.1


class Tail:
    """The part of the log that was written after this object was made."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._begin = self._searched = log.stat().st_size

    def requests(self, user: str | None = None) -> list[Request]:
        """All finished requests, watches left out."""
        return read_audit_log(self._log, user, self._begin)

    def new_lines_with(self, words: str) -> int:
        """How many of the lines since the last call hold these words."""
        with self._log.open("rb") as log:
            log.seek(self._searched)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._searched += len(whole)
        return whole.count(words.encode())

    def wait_for(self, words: str, number: int, timeout: float) -> None:
        """Waits until the words have been written so many times."""
        deadline = time.monotonic() + timeout
        seen = 0
        while (seen := seen + self.new_lines_with(words)) < number:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{seen} of {number} within {timeout} s: {words}")
            time.sleep(PAUSE)

    def wait_for_silence(self, user: str, seconds: float, timeout: float) -> None:
        """Waits until a user has asked for nothing for so many seconds."""
        deadline = time.monotonic() + timeout
        last = time.monotonic()
        while time.monotonic() - last < seconds:
            if self.new_lines_with(f'"username":"{user}"'):
                last = time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{user} has not been silent for {seconds} s within {timeout} s")
            time.sleep(PAUSE)


def creation_of_pods(namespace: str) -> str:
    """The words of the log for one of them."""
    return f'"requestURI":"/api/v1/namespaces/{namespace}/pods","verb":"create"'


def is_resync(request: Request) -> bool:
    """A list of all objects of a kind, as the operator makes it at its start and every five minutes."""
    return request.verb == "list" and request.namespace == ""
