"""What the builders need to know of one attempt."""

from __future__ import annotations

from dataclasses import dataclass

from qlora_api import names
from qlora_api.job_file import JobFile
from qlora_api.portion import Portion
from qlora_api.spec import QLoRAJobSpec


@dataclass(frozen=True)
class PodDefaults:
    """What the operator's settings add to every trainer pod."""

    image: str | None
    image_pull_policy: str
    termination_grace_period: int
    """Seconds."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets in the job's namespace."""


@dataclass(frozen=True)
class AttemptSpec:
    """One attempt of one job."""

    namespace: str
    name: str
    uid: str
    attempt: int
    spec: QLoRAJobSpec
    defaults: PodDefaults
    counted_restarts: int = 0
    """Of the whole job before this attempt."""
    portion: Portion | None = None
    """What a rank holds at once, if not as the job says."""

    @property
    def image(self) -> str:
        """The job's own trainer image, or else the operator's."""
        image = self.spec.node.image or self.defaults.image
        assert image, "a job without an image is refused before anything is built"
        return image

    @property
    def child_name(self) -> str:
        """Name of the attempt's ConfigMap and Job."""
        return names.attempt_name(self.name, self.attempt)

    def job_file(self) -> JobFile:
        """`job.json` of the attempt."""
        return JobFile(
            name=self.name,
            namespace=self.namespace,
            uid=self.uid,
            attempt=self.attempt,
            hosts=[names.host_name(self.name, self.attempt, index) for index in range(self.spec.nodes)],
            slots=self.spec.node.slots,
            max_restarts_in_place=max(0, self.spec.run_policy.max_restarts - self.counted_restarts),
            termination_grace_period_seconds=self.defaults.termination_grace_period,
            portion=self.portion,
            spec=self.spec,
        )
