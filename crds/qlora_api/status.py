"""`status` of a QLoRAJob, written by the operator alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from qlora_api.base import ApiModel
from qlora_api.portion import Portion


class Phase(StrEnum):
    """Where a job stands. Succeeded and Failed are final."""

    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_final(self) -> bool:
        """Whether the job can still move to another phase."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class Condition(ApiModel):
    """One statement about the job, in the form that all of Kubernetes uses."""

    type: Annotated[str, Field(max_length=316)]
    """Accepted, Running, Stalled, Succeeded or Failed."""
    status: Literal["True", "False", "Unknown"]
    """Whether the statement holds."""
    reason: Annotated[str, Field(max_length=1024)]
    """One word for programs."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """A sentence for people."""
    observed_generation: int | None = None
    """metadata.generation that the statement is about."""
    last_transition_time: str
    """When `status` last changed."""


class RestartInPlace(ApiModel):
    """A restart of all ranks inside the living pods of an attempt."""

    number: int
    """1 for the first of the attempt."""
    time: str | None = None
    """When the fault was known."""
    reason: str | None = None
    """Why, as for an attempt; empty if the operator was not there to hear it."""
    message: str | None = None
    """The same as a sentence."""
    pod: str | None = None
    """The pod that failed first."""
    to_step: int | None = None
    """Last step done before."""
    from_step: int | None = None
    """Step at which the ranks went on."""
    lost_steps: int | None = None
    """Steps that were done again."""
    last_step_time: str | None = None
    """When the last step before it was seen to be done."""
    first_step_time: str | None = None
    """When the first step after it was seen to be done."""


class Attempt(ApiModel):
    """One set of pods that trained, or tried to."""

    number: int
    """1 for the first attempt. One that its queue has interrupted goes on under the same number, in another record."""
    start_time: str
    """When its pods were asked for, or admitted by a queue."""
    completion_time: str | None = None
    """When it ended."""
    reason: str | None = None
    """Why it ended: Succeeded, Suspended, Requeued, or one of the reasons of failure."""
    message: str | None = None
    """Why it ended, as a sentence."""
    pod: str | None = None
    """The pod that failed first."""
    node: str | None = None
    """The Kubernetes node of the pod that failed first."""
    from_step: int | None = None
    """Step at which the attempt began."""
    to_step: int | None = None
    """Last step that the attempt is known to have finished."""
    lost_steps: int | None = None
    """Steps that the next attempt had to do again."""
    restarts_in_place: list[RestartInPlace] | None = None
    """Restarts of all ranks inside the living pods, the oldest first."""
    first_step_time: str | None = None
    """When the first optimizer step of the attempt was seen to be done."""
    last_step_time: str | None = None
    """When its last one was seen to be done; set when it ends."""


class Evaluation(ApiModel):
    """How well the held-out rows are predicted."""

    step: int
    """Step of the newest evaluation."""
    loss: float
    """Mean loss a token at that step, in nats; the perplexity is e to its power."""
    best_step: int
    """Step with the lowest loss so far."""
    best_loss: float
    """Loss of that step."""


class Progress(ApiModel):
    """How far the training is, as told by the pod of completion index 0."""

    step: int
    """Optimizer steps done."""
    of: int
    """Optimizer steps in all."""
    position: str
    """Steps done, of steps in all, as in 12/60."""
    loss: float | None = None
    """Mean loss a token at that step, over all ranks."""
    evaluation: Evaluation | None = None
    """How well the held-out rows are predicted."""
    tokens_per_second: float | None = None
    """Tokens trained a second, over all ranks."""
    eta: str | None = None
    """Time to the last step, such as 4m10s."""
    last_checkpoint_step: int | None = None
    """Step of the newest complete checkpoint."""
    last_step_time: str | None = None
    """When `step` was first seen."""


class Memory(ApiModel):
    """The most that a rank allocates on its GPU, such as 9935Mi. docs/memory.md says what it is made of."""

    predicted: str | None = None
    """What was expected before the model was loaded."""
    measured: str | None = None
    """What the job's first rank has allocated so far."""
    micro_batch_size: int | None = None
    """Sequences that a rank holds at once, as written or as training.fit has chosen."""
    gradient_checkpointing: bool | None = None
    """Whether activations are computed again in the backward pass, likewise."""


class Output(ApiModel):
    """What the job has produced."""

    adapter: str
    """Folder of the adapter in PEFT's format."""


class QLoRAJobStatus(ApiModel):
    """What the operator has seen and done."""

    phase: Phase | None = None
    """Pending, Queued, Starting, Running, Restarting, Suspended, Succeeded or Failed."""
    observed_generation: int | None = None
    """metadata.generation that this status is about."""
    conditions: list[Condition] = []
    """Statements about the job: Accepted, Running, Stalled, Succeeded, Failed."""
    start_time: str | None = None
    """When the first pods were asked for."""
    completion_time: str | None = None
    """When the job ended."""
    paused_since: str | None = None
    """Since when the job waits in a queue, or is suspended."""
    paused_seconds: int | None = None
    """Seconds that the job has waited in a queue, or been suspended, before that. Deadlines do not count them."""
    restarts: int | None = None
    """New attempts after failures and disruptions, and restarts in place. Resuming a suspended job is none."""
    counted_restarts: int | None = None
    """Those restarts that the job itself caused, which runPolicy.maxRestarts limits."""
    attempts: list[Attempt] = []
    """The last sets of pods, the oldest first."""
    progress: Progress | None = None
    """How far the training is."""
    memory: Memory | None = None
    """How much of a GPU's memory a rank needs."""
    portion: Portion | None = None
    """What a rank holds at once since the memory of a GPU did not suffice, with training.onGPUOutOfMemory."""
    output: Output | None = None
    """What the job has produced."""

    @property
    def is_final(self) -> bool:
        """Whether the job has ended for good."""
        return self.phase is not None and Phase(self.phase).is_final

    def condition(self, type_: str) -> Condition | None:
        """The condition of a type, if it was ever set."""
        return next((condition for condition in self.conditions if condition.type == type_), None)
