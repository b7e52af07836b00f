"""What the supervisors tell each other."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from qlora_api.report import Report, Step, Termination, Text

MESSAGE_LIMIT = 16_384
"""Bytes."""


class MemberState(StrEnum):
    """What a pod does in an epoch."""

    READY = "Ready"
    """No rank lives, and the pod waits for the others to start theirs."""
    RUNNING = "Running"
    ENDED = "Ended"
    """All ranks of the epoch have ended."""


class GangState(StrEnum):
    """What all pods have to do in an epoch."""

    GATHER = "Gather"
    """Get ready: nobody starts before all are."""
    TRAIN = "Train"
    HALT = "Halt"
    """End the ranks: one has failed."""
    END = "End"
    """Leave: there is no further epoch in this attempt."""


class MemberReport(Report):
    """What a pod tells the coordinator."""

    uid: Text
    """UID of the QLoRAJob."""
    attempt: Step
    completion_index: Step
    epoch: Step
    state: MemberState
    outcome: Termination | None = None
    """How the pod's ranks ended, once they have."""
    leaves: bool = False
    """Whether the pod goes: it has finished, or was asked to stop."""


class Order(Report):
    """The coordinator's answer."""

    epoch: Step
    state: GangState
    why: Annotated[str, Field(max_length=2048)] = ""
    """Why the last epoch ended, as a sentence."""
    is_incomplete: bool = False
    """Whether a pod is gone without a word, so that the others cannot finish a step."""
