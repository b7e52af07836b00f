"""What Prometheus gets from a running controller; the pods are real HTTP servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from builders import job_body, stored
from qlora_operator.collectors import JobCollector, OperatorCollector
from qlora_operator.controller import Controller
from qlora_operator.settings import parse_arguments
from qlora_operator.views import QLORA_JOB
from unit.operator.test_progress import answer, pod

KEY = ("default", "job")
JOB = {"namespace": "default", "job_name": "job"}
RUNNING = {"phase": "Running", "restarts": 2}


class Scrape:
    def __init__(self, controller: Controller) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(OperatorCollector(controller))
        self.registry.register(JobCollector(controller))

    def value(self, metric: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"qlora_{metric}", labels)

    def series_of(self, job: str) -> set[str]:
        samples = [sample for metric in self.registry.collect() for sample in metric.samples]
        return {sample.name for sample in samples if sample.labels.get("job_name") == job}


@asynccontextmanager
async def controller() -> AsyncIterator[tuple[Controller, Scrape]]:
    running = Controller(parse_arguments(["--progress-interval=0.05", "--progress-budget=100"]))
    poller = asyncio.create_task(running.poller.run())
    yield running, Scrape(running)
    poller.cancel()
    await asyncio.gather(poller, return_exceptions=True)


def put(running: Controller, status: dict[str, Any], name: str = "job", version: int = 1) -> None:
    running.see(QLORA_JOB, "MODIFIED", stored(job_body(name), status=status, version=version))


async def test_jobs_are_counted_by_phase_and_an_empty_phase_is_zero() -> None:
    async with controller() as (running, scrape):
        put(running, RUNNING)
        put(running, RUNNING, "second")
        put(running, {}, "new")
        put(running, {"phase": "Nonsense"}, "odd")
        assert scrape.value("operator_jobs", phase="Running") == 2
        assert scrape.value("operator_jobs", phase="Pending") == 2
        assert scrape.value("operator_jobs", phase="Failed") == 0


async def test_the_queue_tells_its_depth_and_the_age_of_its_oldest_key() -> None:
    async with controller() as (running, scrape):
        assert (scrape.value("operator_queue_depth"), scrape.value("operator_queue_age_seconds")) == (0, 0)
        put(running, RUNNING)
        await asyncio.sleep(0.2)
        put(running, RUNNING, "second")
        assert scrape.value("operator_queue_depth") == 2
        age = scrape.value("operator_queue_age_seconds")
        assert age is not None
        assert age >= 0.2


async def test_a_replica_that_has_not_listed_yet_has_no_age_of_its_list() -> None:
    async with controller() as (_, scrape):
        assert scrape.value("operator_resync_age_seconds") is None


async def test_a_running_job_has_the_figures_that_its_pod_told() -> None:
    evaluation = {"step": 2, "loss": 1.5, "bestStep": 1, "bestLoss": 1.375}
    told = answer(loss=1.25, tokensPerSecond=90.5, residentMemoryBytes=4096, gpuMemoryBytes=8192, evaluation=evaluation)
    async with pod("127.0.3.21", told), controller() as (running, scrape):
        put(running, RUNNING)
        running.poller.watch(KEY, "uid", 1, "127.0.3.21")
        await asyncio.sleep(0.5)
        assert scrape.value("job_step", **JOB) == 3
        assert scrape.value("job_steps", **JOB) == 9
        assert scrape.value("job_loss", **JOB) == 1.25
        assert scrape.value("job_evaluation_loss", **JOB) == 1.5
        assert scrape.value("job_evaluation_best_loss", **JOB) == 1.375
        assert scrape.value("job_tokens_per_second", **JOB) == 90.5
        assert scrape.value("job_resident_memory_bytes", **JOB) == 4096
        assert scrape.value("job_gpu_memory_bytes", **JOB) == 8192
        assert scrape.value("job_restarts", **JOB) == 2
        age = scrape.value("job_step_age_seconds", **JOB)
        assert age is not None
        assert 0.2 < age < 30


async def test_figures_that_a_pod_did_not_tell_have_no_series() -> None:
    async with pod("127.0.3.22", answer()), controller() as (running, scrape):
        put(running, RUNNING)
        running.poller.watch(KEY, "uid", 1, "127.0.3.22")
        await asyncio.sleep(0.5)
        assert scrape.series_of("job") == {
            "qlora_job_step", "qlora_job_steps", "qlora_job_step_age_seconds", "qlora_job_restarts",
        }  # fmt: skip


async def test_a_job_that_is_deleted_or_has_ended_leaves_no_series() -> None:
    async with pod("127.0.3.23", answer()), controller() as (running, scrape):
        put(running, RUNNING)
        running.poller.watch(KEY, "uid", 1, "127.0.3.23")
        await asyncio.sleep(0.5)
        assert scrape.series_of("job")
        running.poller.forget(KEY)
        put(running, {"phase": "Succeeded"}, version=2)
        assert scrape.series_of("job") == set()
        put(running, RUNNING, "second")
        running.see(QLORA_JOB, "DELETED", stored(job_body("second"), status=RUNNING))
        assert scrape.series_of("second") == set()


async def test_goodput_follows_the_record_of_attempts() -> None:
    attempt = {"number": 1, "startTime": "2026-01-01T00:00:00Z", "firstStepTime": "2026-01-01T00:00:10Z", "fromStep": 0}

    def progress(time: str) -> dict[str, Any]:
        return {"step": 4, "of": 9, "position": "4/9", "lastStepTime": f"2026-01-01T00:00:{time}Z"}

    async with controller() as (running, scrape):
        put(running, {**RUNNING, "attempts": [{**attempt, "firstStepTime": None}]})
        assert scrape.value("job_goodput_ratio", **JOB) is None
        put(running, {**RUNNING, "attempts": [attempt], "progress": progress("20")}, version=2)
        assert scrape.value("job_goodput_ratio", **JOB) == 0.5
        put(running, {**RUNNING, "attempts": [attempt], "progress": progress("40")}, version=3)
        assert scrape.value("job_goodput_ratio", **JOB) == 0.75


async def test_a_status_that_cannot_be_read_hides_no_other_job() -> None:
    async with controller() as (running, scrape):
        put(running, {"phase": "Running", "attempts": [{"number": 1, "startTime": "never", "firstStepTime": "x"}]})
        put(running, RUNNING, "second")
        assert scrape.value("operator_jobs", phase="Running") == 2
        assert scrape.value("job_restarts", namespace="default", job_name="second") == 2
