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
    "tokens_per_second": "Tokens trained a second, over all ranks.",
    "eta_seconds": "Time to the last step.",
    "last_checkpoint_step": "Step of the newest complete checkpoint.",
    "from_step": "Step at which this attempt began.",
    "resident_memory_bytes": "Host memory of this pod's ranks.",
    "gpu_memory_bytes": "The most that the pod's first rank has allocated on its GPU.",
    "updated": "Unix time of the newest of these figures.",
}
_NAMES = {"of": "steps", "updated": "updated_timestamp_seconds"}


class _StatusCollector(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        progress = self._status.progress()
        for field, description in _GAUGES.items():
            value = getattr(progress, field)
            if value is not None:
                yield GaugeMetricFamily(f"qlora_trainer_{_NAMES.get(field, field)}", description, value=value)
        state = GaugeMetricFamily("qlora_trainer_state", "1 for the state of the pod.", labels=["state"])
        state.add_metric([progress.state], 1)
        yield state


def render(status: Status) -> bytes:
    """The text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StatusCollector(status))
    return generate_latest(registry)
