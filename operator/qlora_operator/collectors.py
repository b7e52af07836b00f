"""Figures that are read off the running operator when Prometheus asks: its own state, and that of each job.

A job has series from its first answer on until it has ended or is deleted: what is not there any more has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from qlora_api.status import Phase, QLoRAJobStatus
from qlora_operator.controller import Controller
from qlora_operator.goodput import goodput, time_spent
from qlora_operator.views import Key, ResourceView

Families = Iterator[GaugeMetricFamily]

PROGRESS = {
    "step": ("step", "Optimizer steps done."),
    "steps": ("of", "Optimizer steps in all."),
    "loss": ("loss", "Mean loss a token at that step, over all ranks, in nats."),
    "evaluation_loss": ("evaluation.loss", "Mean loss a held-out token at the newest evaluation, in nats."),
    "evaluation_best_loss": ("evaluation.best_loss", "The lowest of these losses so far."),
    "tokens_per_second": ("tokens_per_second", "Tokens trained a second, over all ranks."),
    "resident_memory_bytes": ("resident_memory_bytes", "Host memory of the ranks in the job's first pod."),
    "gpu_memory_bytes": ("gpu_memory_bytes", "The most that the job's first rank has allocated on its GPU."),
}
"""Metric, field of `report.Progress` or path to it, description."""


class OperatorCollector(Collector):
    """Queue, resync, and jobs by phase."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> Families:
        """A standby has no resync."""
        queue = self._controller.queue
        yield GaugeMetricFamily("qlora_operator_queue_depth", "Jobs that wait to be looked at.", len(queue))
        yield GaugeMetricFamily("qlora_operator_queue_age_seconds", "Age of the oldest of them.", queue.oldest_age())
        resync = GaugeMetricFamily("qlora_operator_resync_age_seconds", "Age of the last complete list.")
        resync_age = self._controller.resync_age()
        if resync_age is not None:
            resync.add_metric([], resync_age)
        yield resync
        jobs = GaugeMetricFamily("qlora_operator_jobs", "QLoRAJobs by phase.", labels=["phase"])
        phases = Counter(_phase(view) for view in self._controller.cache.resources())
        for phase in Phase:
            jobs.add_metric([phase], phases[phase])
        yield jobs


class JobCollector(Collector):
    """Figures of each job that has not ended, by namespace and name.

    The name is in the label `job_name`: `job` is what Prometheus calls its own scrape configuration.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._shares: dict[Key, tuple[int, float | None]] = {}

    def collect(self) -> Families:
        """What the first pods have told, and what follows from the status."""
        yield from self._of_pods()
        yield from self._of_status()

    def _of_pods(self) -> Families:
        figures = self._controller.poller.figures()
        for metric, (field, description) in PROGRESS.items():
            family = _job_family(metric, description)
            for key, told in figures.items():
                value = told.progress.figure(field)
                if value is not None and told.progress.of > 0:
                    family.add_metric(key, value)
            yield family
        age = _job_family("step_age_seconds", "Time since its step, its evaluation or its first pod was seen to move.")
        for key, told in figures.items():
            age.add_metric(key, told.step_age)
        yield age

    def _of_status(self) -> Families:
        views = [view for view in self._controller.cache.resources() if not _phase(view).is_final]
        restarts = _job_family("restarts", "Attempts after the first, and restarts in place.")
        for view in views:
            restarts.add_metric(view.key, view.status.get("restarts") or 0)
        yield restarts
        self._shares = {view.key: self._share(view) for view in views}
        family = _job_family("goodput_ratio", "Share of its time that went into steps that count.")
        for key, (_, share) in self._shares.items():
            if share is not None:
                family.add_metric(key, share)
        yield family

    def _share(self, view: ResourceView) -> tuple[int, float | None]:
        """The goodput of a job with the version that it was computed from, so that it is computed once for each."""
        version = view.metadata.resource_version
        known = self._shares.get(view.key)
        if known is not None and known[0] == version:
            return known
        try:
            status = QLoRAJobStatus.model_validate(view.status, extra="ignore")
            return version, goodput(time_spent(status).values())
        except ValueError:  # a status that somebody else has written must not hide the other jobs
            return version, None


def _job_family(metric: str, description: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"qlora_job_{metric}", description, labels=["namespace", "job_name"])


def _phase(view: ResourceView) -> Phase:
    told = view.status.get("phase")
    return Phase(told) if told in tuple(Phase) else Phase.PENDING
