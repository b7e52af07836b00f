"""MLflow and Weights & Biases. An attempt goes on with the run of the one before, which it knows by the job's UID."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from qlora_api.job_file import JobFile
from qlora_api.spec import MLflowSpec, WandbSpec
from qlora_trainer.rank.background import InBackground
from qlora_trainer.rank.journal import Line, Reporter

_TAG = "qlora.dev/job-uid"
_PARAMETERS_AT_ONCE = 100
"""What MLflow takes in one request."""
_NOT_FIGURES = ("step", "of", "number")


def trackers(job: JobFile, scratch: Path) -> list[Reporter]:
    """Those that the job asks for.

    Args:
        job: the job.
        scratch: a folder for what a library writes beside.
    """
    reporting = job.spec.reporting
    found: list[Reporter] = []
    if reporting.mlflow is not None:
        found.append(InBackground("mlflow", partial(MLflow, job, reporting.mlflow)))
    if reporting.wandb is not None:
        found.append(InBackground("wandb", partial(Wandb, job, reporting.wandb, scratch)))
    return found


class MLflow(Reporter):
    """A run of an MLflow server. The token is in the environment, as MLflow's client wants it."""

    def __init__(self, job: JobFile, spec: MLflowSpec) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=spec.tracking_uri)
        known = self._client.get_experiment_by_name(spec.experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(spec.experiment)
        older = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{job.uid}'", max_results=1)
        if older:
            self._run = older[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(experiment, run_name=job.name, tags={_TAG: job.uid}).info.run_id
        fields = [Param(name, str(value)[:500]) for name, value in flat(job.spec.to_json()).items()]
        for begin in range(0, len(fields), _PARAMETERS_AT_ONCE):
            self._client.log_batch(self._run, params=fields[begin : begin + _PARAMETERS_AT_ONCE])

    def step(self, line: Line) -> None:
        """Reports the figures under `training/`."""
        self._report("training", line)

    def evaluation(self, line: Line) -> None:
        """Reports the figures under `evaluation/`."""
        self._report("evaluation", line)

    def close(self) -> None:
        """Ends the run."""
        self._client.set_terminated(self._run)

    def _report(self, group: str, line: Line) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(f"{group}/{name}", value, now, line["step"]) for name, value in figures(line).items()]
        self._client.log_batch(self._run, metrics=metrics)


class Wandb(Reporter):
    """A run of Weights & Biases. The API key is in the environment, as its client wants it."""

    def __init__(self, job: JobFile, spec: WandbSpec, scratch: Path) -> None:
        import wandb

        self._run = wandb.init(
            project=spec.project,
            entity=spec.entity,
            id=job.uid,
            name=job.name,
            resume="allow",
            dir=str(scratch),
            config=job.spec.to_json(),
            settings=wandb.Settings(silent=True, **({"base_url": spec.base_url} if spec.base_url else {})),
        )
        self._run.define_metric("*", step_metric="step")  # its own steps cannot go back, those of a restart do

    def step(self, line: Line) -> None:
        """Reports the figures under `training/`."""
        self._report("training", line)

    def evaluation(self, line: Line) -> None:
        """Reports the figures under `evaluation/`."""
        self._report("evaluation", line)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()

    def _report(self, group: str, line: Line) -> None:
        self._run.log({"step": line["step"], **{f"{group}/{name}": value for name, value in figures(line).items()}})


def figures(line: Line) -> dict[str, float]:
    """The figures of a line."""
    return {name: float(value) for name, value in line.items() if name not in _NOT_FIGURES}


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with the names of fields joined by dots."""
    found: dict[str, Any] = {}
    for name, field in value.items():
        found |= flat(field, f"{prefix}{name}.") if isinstance(field, dict) else {f"{prefix}{name}": field}
    return found
