"""The status as Prometheus metrics, made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from qlora_trainer.supervisor.status import Status

_GAUGES = {
    "step": "Optimizer steps done.",
    "of": "Optimizer steps in all.",
    "loss": "Mean loss a token at that step, over all ranks, in nats.",
    "evaluation.loss": "Mean loss a held-out token at the newest evaluation, in nats.",
    "evaluation.best_loss": "The lowest of these losses so far.",
    "tokens_per_second": "Tokens trained a second, over all ranks.",
    "eta_seconds": "Time to the last step.",
    "last_checkpoint_step": "Step of the newest complete checkpoint.",
    "from_step": "Step at which this attempt began.",
    "resident_memory_bytes": "Host memory of this pod's ranks.",
    "gpu_memory_bytes": "The most that the pod's first rank has allocated on its GPU.",
    "updated": "Unix time of the newest of these figures.",
}
_NAMES = {
    "of": "steps",
    "evaluation.loss": "evaluation_loss",
    "evaluation.best_loss": "evaluation_best_loss",
    "updated": "updated_timestamp_seconds",
}


class StatusCollector(Collector):
    """The newest figures of one pod."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A figure that is not known yet has no sample."""
        progress = self._status.progress()
        for field, description in _GAUGES.items():
            gauge = GaugeMetricFamily(f"qlora_trainer_{_NAMES.get(field, field)}", description)
            value = progress.figure(field)
            if value is not None:
                gauge.add_metric([], value)
            yield gauge
        state = GaugeMetricFamily("qlora_trainer_state", "1 for the state of the pod.", labels=["state"])
        state.add_metric([progress.state], 1)
        yield state


def render(status: Status) -> bytes:
    """The text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status))
    return generate_latest(registry)
