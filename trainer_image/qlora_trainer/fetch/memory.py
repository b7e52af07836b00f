"""Tells how much memory of a GPU the job will need: this container usually sees no GPU."""

from __future__ import annotations

from pathlib import Path

from qlora_api.estimate import estimate
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.fetch.weights import read_folder_shapes
from qlora_trainer.files import read_json


def tell_memory(spec: QLoRAJobSpec, model: Path) -> None:
    """Logs what one rank needs with full sequences; the rank knows the rows, and refuses what cannot fit."""
    if spec.node.accelerator == "cpu":
        return
    try:
        found = estimate(spec, read_folder_shapes(model), read_json(model / "config.json") or {})
    except ValueError as error:
        log.event("memory_unknown", message=str(error))
        return
    log.event("memory", predicted=found.allocated, most_in=found.peak.name, largest=found.largest_part)
