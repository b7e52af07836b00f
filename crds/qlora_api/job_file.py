"""`job.json`, the one file from which the pods of an attempt know what to do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qlora_api import names
from qlora_api.base import ApiModel
from qlora_api.portion import Portion
from qlora_api.spec import QLoRAJobSpec


class JobFile(ApiModel):
    """A resolved job: every default is filled in, every host has its name."""

    name: str
    namespace: str
    uid: str
    """UID of the QLoRAJob; with `attempt`, the token by which a pod of an older attempt is told apart."""
    attempt: Annotated[int, Field(ge=1)]
    hosts: Annotated[list[str], Field(min_length=1)]
    """DNS names of the pods in the order of their completion index."""
    slots: Annotated[int, Field(ge=1)]
    """Ranks on each host."""
    master_port: int = names.MASTER_PORT
    status_port: int = names.STATUS_PORT
    max_restarts_in_place: Annotated[int, Field(ge=0)] = 0
    """Times that the ranks may be started again inside the living pods of this attempt."""
    termination_grace_period_seconds: int
    """Time between SIGTERM and SIGKILL of a pod."""
    portion: Portion | None = None
    """What a rank holds at once after the memory of a GPU did not suffice; None: as `spec.training` says."""
    spec: QLoRAJobSpec

    @property
    def world_size(self) -> int:
        """Ranks in all."""
        return len(self.hosts) * self.slots

    @property
    def gradient_accumulation_steps(self) -> int:
        """Micro-batches that one rank sums up for an optimizer step."""
        return self.spec.training.global_batch_size // (self.spec.training.micro_batch_size * self.world_size)

    def hostfile(self) -> str:
        """The DeepSpeed hostfile: one line for each host, in the order of the ranks."""
        return "".join(f"{host} slots={self.slots}\n" for host in self.hosts)
