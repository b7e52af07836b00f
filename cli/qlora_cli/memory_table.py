"""An estimate as people read it."""

from __future__ import annotations

from typing import NamedTuple

from qlora_api.estimate import Choice, Estimate
from qlora_api.estimate.breakdown import GIB
from qlora_api.spec import QLoRAJobSpec

GPUS = {"24 GB": 22.0, "40 GB": 39.4, "48 GB": 44.4, "80 GB": 79.1, "141 GB": 139.7}
"""GiB that a process can use of a GPU that is sold with so much: error correction and the driver take the rest."""


class Alternatives(NamedTuple):
    """Bytes on the GPU with other choices."""

    choices: dict[int, tuple[int, int]]
    """By micro-batch: with gradient checkpointing, and without."""
    stages: dict[int, int]
    """By ZeRO stage."""
    chosen: dict[str, Choice]
    """What `training.fit: auto` takes on each GPU; empty if the job does not say so."""


def memory_table(name: str, spec: QLoRAJobSpec, found: Estimate, others: Alternatives, is_for_cpu: bool) -> str:
    """The text that `qlora estimate` prints.

    Args:
        name: of the job.
        spec: the job's, as it was estimated.
        found: its estimate.
        others: the same with other choices.
        is_for_cpu: whether the job asks for no GPU.
    """
    training, ranks = spec.training, spec.nodes * spec.node.slots
    checkpointing = str(training.gradient_checkpointing).lower()
    lines = [
        f"{name}: memory of one GPU of {ranks}, in GiB",
        f"microBatchSize {training.micro_batch_size}, sequenceLength {training.sequence_length}, "
        f"gradientCheckpointing {checkpointing}, zeroStage {spec.deepspeed.zero_stage}, optimizer {training.optimizer}",
    ]
    if is_for_cpu:
        lines.append("node.accelerator is cpu: these are the figures of the same job on a GPU")
    peak = found.peak
    lines += ["", f"It needs most during {peak.name}:"]
    lines += [_row(part, size) for part, size in peak.parts.items() if size >= GIB / 1000]
    lines += [
        _row("allocated by torch", found.allocated),
        _row("CUDA, and torch's reserve", found.on_device - found.allocated),
        _row("on the GPU", found.on_device),
        "",
        "Allocated in the other phases of a step:",
    ]
    lines += [_row(phase.name, phase.total) for phase in found.phases if phase is not peak]
    lines += ["", "On the GPU, with other choices:", f"  {'microBatchSize':<24}" + "checkpointing      without"]
    for size, (with_it, without) in others.choices.items():
        how = "with checkpointing" if training.gradient_checkpointing else "without"
        mark = (
            f"  <- {'without fit' if others.chosen else 'this job'}, {how}" if size == training.micro_batch_size else ""
        )
        lines.append(f"  {size:<24}{with_it / GIB:13.2f}{without / GIB:13.2f}{mark}")
    stages = ", ".join(f"{stage}: {size / GIB:.2f}" for stage, size in others.stages.items())
    lines += [f"  zeroStage  {stages}", "", f"GPUs: {'; '.join(_verdict(found, gpu) for gpu in GPUS)}"]
    for gpu, choice in others.chosen.items():
        checkpointing = "with" if choice.checkpointing else "without"
        lines.append(f"fit: auto on {gpu}: microBatchSize {choice.micro_batch}, {checkpointing} checkpointing")
    lines.append("Sequences are taken to be full, and all of their tokens learned; shorter ones need less.")
    return "\n".join(lines) + "\n"


def _row(name: str, size: int) -> str:
    return f"  {name:<40}{size / GIB:8.2f}"


def _verdict(found: Estimate, gpu: str) -> str:
    memory = int(GPUS[gpu] * GIB)
    if found.fits(memory):
        return f"{gpu} fits"
    return f"{gpu} too small" if found.is_hopeless(memory) else f"{gpu} may be too small"
