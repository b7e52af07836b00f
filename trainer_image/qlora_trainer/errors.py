"""The exception that ends a pod with a reason of the API and a sentence for the user."""

from __future__ import annotations

from qlora_api.reasons import Reason


class TrainerError(Exception):
    """A failure that is understood: `reason` is for programs, the message says what to write or do instead."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class StopRequested(BaseException):
    """The pod was asked to stop before training had begun, so there is nothing to save.

    No Exception: it can come up anywhere, also within libraries that catch all of those.
    """
