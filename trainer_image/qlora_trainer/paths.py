"""Where things lie in the pod. A root other than `/` lets several pods live on one machine, as in the tests."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qlora_api import names

ROOT_VARIABLE = "QLORA_POD_ROOT"
EPOCH_VARIABLE = "QLORA_EPOCH"
"""Part of a rank's rendezvous, as RANK is: 0 at first, one more after each restart in place."""
DEVICES_VARIABLE = "QLORA_DEVICES"
"""GPUs of a pod that shares its machine with others; without it the pod has all that it sees."""


@dataclass(frozen=True)
class PodPaths:
    """The paths of `qlora_api.names` below a root."""

    root: Path = Path("/")

    @classmethod
    def from_environment(cls) -> PodPaths:
        """The paths below `$QLORA_POD_ROOT`, or below `/`."""
        return cls(Path(os.environ.get(ROOT_VARIABLE, "/")))

    def at(self, absolute: str | PurePosixPath) -> Path:
        """A path of the pod, such as `/job/hostfile`, below the root."""
        return self.root / PurePosixPath(absolute).relative_to("/")

    @property
    def job_file(self) -> Path:
        """The resolved job, written by the operator."""
        return self.at(names.JOB_FILE)

    @property
    def hostfile(self) -> Path:
        """The hostfile that DeepSpeed reads, written by the operator."""
        return self.at(names.HOSTFILE)

    @property
    def termination_log(self) -> Path:
        """What Kubernetes shows as the container's termination message."""
        return self.at(names.TERMINATION_LOG)

    @property
    def work(self) -> Path:
        """The pod's own scratch folder, shared by its containers."""
        return self.at(names.WORK_DIRECTORY)

    @property
    def sources(self) -> Path:
        """Local paths of model, dataset and output: written by `fetch`, read by the ranks."""
        return self.work / "sources.json"

    @property
    def tokens(self) -> Path:
        """The tokenised dataset: written by the first rank of the pod, mapped by all."""
        return self.work / "tokens"

    @property
    def held_out_tokens(self) -> Path:
        """The tokenised rows of the evaluation, if the job has one: complete before `tokens`."""
        return self.work / "held-out-tokens"

    @property
    def progress(self) -> Path:
        """How far the training is: written by the first rank of the pod, served by the supervisor."""
        return self.work / "progress.json"

    @property
    def outcomes(self) -> Path:
        """How the ranks ended: `<epoch>/<rank>.json`, written by the rank itself."""
        return self.work / "ranks"

    def outcome(self, epoch: int, rank: int) -> Path:
        """How one rank ended."""
        return self.outcomes / str(epoch) / f"{rank}.json"

    @property
    def epoch(self) -> Path:
        """The epoch that trains: written by the supervisor; ranks of a later one wait for it."""
        return self.work / "epoch"
