"""The exception for a job that is not accepted."""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):  # noqa: N818 - an answer, not an error of this program
    """A job that cannot run as it is written; each fault is a sentence."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)
