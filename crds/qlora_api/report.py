"""What a pod tells the operator: the JSON of `/status` and of the termination message.

Both come from a container that runs users' models and data, so they are read with `from_untrusted`,
which bounds their size and checks every field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from qlora_api.base import ApiModel

Text = Annotated[str, Field(max_length=2048)]
Step = Annotated[int, Field(ge=0, le=2**53)]
Number = Annotated[float, Field(allow_inf_nan=False)]
ReasonWord = Annotated[str, Field(max_length=64, pattern="^[A-Za-z]+$")]
"""One of `qlora_api.reasons.Reason`, or a word of a newer trainer."""

RESTARTS_TOLD = 10
"""Restarts in place that a pod tells of."""


class Report(ApiModel):
    """JSON from a pod, whose trainer may be newer than this program: fields that are not known are left out."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def from_untrusted(cls, data: bytes | str, limit: int) -> Self | None:
        """The report in `data`, or None if it is longer than `limit`, no JSON, or has a wrong field."""
        if len(data) > limit:
            return None
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return None


class Restart(Report):
    """A restart of all ranks inside the living pods. Times are in seconds."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    """1 for the first of the attempt."""
    time: Annotated[float, Field(ge=0, lt=253_402_300_800, allow_inf_nan=False)]
    """Unix time at which the fault was known, before the year 10000: it is written as a date."""
    reason: ReasonWord
    message: Annotated[str, Field(max_length=512)] = ""
    completion_index: Step | None = None
    """Pod that failed first."""
    rank: Step | None = None
    to_step: Step | None = None
    """Last step done before."""
    from_step: Step | None = None
    """Step at which the ranks went on."""


class Evaluation(Report):
    """How well the held-out rows are predicted. Losses are the mean a token, in nats."""

    step: Step
    """Step of the newest evaluation."""
    loss: Number
    best_step: Step
    """Step with the lowest loss so far."""
    best_loss: Number


class Progress(Report):
    """`GET /status` of the pod with completion index 0. Times are in seconds."""

    uid: Text
    """UID of the QLoRAJob."""
    attempt: Step
    state: Literal["Waiting", "Launching", "Training", "Finishing", "Restarting", "Stopping", "Succeeded", "Failed"]
    step: Step = 0
    of: Step = 0
    loss: Number | None = None
    tokens_per_second: Number | None = None
    eta_seconds: Number | None = None
    last_checkpoint_step: Step | None = None
    from_step: Step | None = None
    """Step at which the attempt began."""
    resumed_step: Step | None = None
    """Step at which the ranks that run now began: another one after a restart in place."""
    step_seconds: Number | None = None
    """Mean time of the last steps."""
    restarts: Annotated[list[Restart], Field(max_length=RESTARTS_TOLD)] = []
    """The newest restarts in place, the oldest first."""
    evaluation: Evaluation | None = None
    evaluated_portions: Step = 0
    """Micro-batches of evaluations, and tokens of their samples: what moves while no step is done."""
    resident_memory_bytes: Step | None = None
    """Host memory of this pod's ranks."""
    gpu_memory_bytes: Step | None = None
    """The most that the pod's first rank has allocated on its GPU."""
    predicted_gpu_memory_bytes: Step | None = None
    """The most that a rank was expected to allocate."""
    micro_batch_size: Step | None = None
    """Sequences that a rank holds at once."""
    gradient_checkpointing: bool | None = None
    """Whether activations are computed again."""
    updated: Number
    """Unix time of the newest of these figures."""

    def figure(self, path: str) -> float | None:
        """A figure by its path, such as `evaluation.loss`; None if it, or what it belongs to, is not known."""
        value: Any = self
        for name in path.split("."):
            value = getattr(value, name, None)
        return None if value is None else float(value)


class Termination(Report):
    """The termination message of a container, at most 4096 bytes as Kubernetes keeps no more."""

    outcome: Literal["Succeeded", "Failed"]
    reason: ReasonWord | None = None
    message: Text = ""
    """A sentence for people: what was wrong, and what to do."""
    exception: Annotated[str, Field(max_length=256)] | None = None
    """Class of the exception that ended the first failed rank."""
    rank: Step | None = None
    host: Annotated[str, Field(max_length=253)] | None = None
    step: Step | None = None
    of: Step | None = None
    from_step: Step | None = None
    restarts: Step | None = None
    """Restarts in place that the pod has lived through."""
    restart_reasons: Annotated[list[ReasonWord], Field(max_length=RESTARTS_TOLD)] = []
    """Why the newest of them were made, the oldest first; only the pod of completion index 0 knows."""
    loss: Number | None = None
    evaluation: Evaluation | None = None
    adapter: Text | None = None
    """Folder of the adapter inside the pod."""
    peak_memory_bytes: Step | None = None
    micro_batch_size: Step | None = None
    """Sequences that the rank held at once, if the memory of its GPU ran out in training."""
    gradient_checkpointing: bool | None = None
    """Whether activations were computed again, likewise."""


PROGRESS_LIMIT = 16_384
TERMINATION_LIMIT = 4_096
