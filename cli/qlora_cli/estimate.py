"""`qlora estimate`: how much memory of a GPU a job needs, before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from qlora_api.estimate import Choice, choose, estimate
from qlora_api.estimate.breakdown import GIB
from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check import Refused, check_job, read_job
from qlora_cli.memory_table import GPUS, Alternatives, memory_table
from qlora_cli.model_files import ModelFiles, model_files

MICRO_BATCHES = (1, 2, 4, 8, 16)
"""Of these, what divides a rank's share of the global batch is shown."""


def estimate_job(file: Path, volumes: Mapping[str, Path]) -> int:
    """Prints what one rank needs; the exit code is 0.

    Args:
        file: YAML of a QLoRAJob.
        volumes: folder of each claim; that of the model is read.

    Raises:
        Refused: the job is wrong, or its model cannot be read.
    """
    if find_spec("cel") is None:
        raise Refused(["cel is not installed; run pip install 'qlora-operator[local]'"])
    body = read_job(file)
    spec = check_job(body)
    is_for_cpu = spec.node.accelerator == "cpu"
    files = model_files(spec.model, volumes)
    spec = on_gpu(spec)
    try:
        found = estimate(spec, files.shapes, files.config)
        others = alternatives(spec, files)
    except ValueError as error:
        raise Refused([f"model.source {spec.model.source}: {error}"]) from error
    sys.stdout.write(memory_table(body["metadata"]["name"], spec, found, others, is_for_cpu))
    return 0


def on_gpu(spec: QLoRAJobSpec) -> QLoRAJobSpec:
    """The same job with a GPU."""
    if spec.node.accelerator != "cpu":
        return spec
    return spec.model_copy(update={"node": spec.node.model_copy(update={"accelerator": "nvidia.com/gpu"})})


def alternatives(spec: QLoRAJobSpec, files: ModelFiles) -> Alternatives:
    """Bytes on the GPU with other micro-batches, with and without checkpointing, and with other ZeRO stages."""
    training, world_size = spec.training, spec.nodes * spec.node.slots
    share = training.global_batch_size // world_size
    sizes = sorted({size for size in MICRO_BATCHES if share % size == 0} | {training.micro_batch_size})

    def needed(spec: QLoRAJobSpec, choice: Choice | None = None) -> int:
        return estimate(spec, files.shapes, files.config, choice).on_device

    stages = {}
    for stage in range(4):
        deepspeed = spec.deepspeed.model_copy(update={"zero_stage": stage})
        stages[stage] = needed(spec.model_copy(update={"deepspeed": deepspeed}))
    chosen = {}
    if training.fit == "auto":
        for gpu, memory in GPUS.items():
            chosen[gpu] = choose(
                spec, lambda choice: estimate(spec, files.shapes, files.config, choice), int(memory * GIB)
            )
    return Alternatives(
        chosen=chosen,
        choices={size: (needed(spec, Choice(size, True)), needed(spec, Choice(size, False))) for size in sizes},
        stages=stages,
    )
