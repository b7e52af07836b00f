"""`/healthz` and `/metrics` of the operator."""

from __future__ import annotations

from collections import Counter

from aiohttp import web
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from qlora_operator.controller import Controller


class ControllerCollector(Collector):
    """Figures that are read off the controller when Prometheus asks."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> list[GaugeMetricFamily]:
        """Queue depth and jobs by phase."""
        queue = self._controller.queue
        depth = GaugeMetricFamily("qlora_operator_queue_depth", "Jobs that wait to be looked at.", len(queue))
        age = GaugeMetricFamily("qlora_operator_queue_age_seconds", "Age of the oldest of them.", queue.oldest_age())
        jobs = GaugeMetricFamily("qlora_operator_jobs", "QLoRAJobs by phase.", labels=["phase"])
        phases = Counter(view.status.get("phase") or "Pending" for view in self._controller.cache.resources())
        for phase, number in phases.items():
            jobs.add_metric([phase], number)
        return [depth, age, jobs]


async def serve(controller: Controller, port: int) -> web.AppRunner:
    """Starts to serve on all addresses; the caller cleans the runner up."""

    async def healthz(_: web.Request) -> web.Response:
        fault = controller.health()
        return web.Response(text=fault or "ok", status=500 if fault else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), content_type="text/plain")

    REGISTRY.register(ControllerCollector(controller))
    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", metrics)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104
    return runner
