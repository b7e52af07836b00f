"""The fastest way through a step that fits on a GPU."""

from __future__ import annotations

from collections.abc import Callable

from qlora_api.estimate.breakdown import Estimate
from qlora_api.estimate.estimate import Choice
from qlora_api.methods import Cell, refusal
from qlora_api.spec import QLoRAJobSpec

LARGEST = 64
"""Sequences of a micro-batch at most: a GPU is busy long before."""


def choose(spec: QLoRAJobSpec, estimate_of: Callable[[Choice], Estimate], memory: int) -> Choice:
    """The largest micro-batch that fits without gradient checkpointing, else with it.

    Not to compute a layer twice saves a third of the time, more than any micro-batch does. Where nothing fits it is the
    choice that needs least, and the rank says what is too large.

    Args:
        spec: the job's; `gradientCheckpointing: false` is kept.
        estimate_of: what a choice needs.
        memory: bytes of the smallest GPU.
    """
    share = spec.training.global_batch_size // (spec.nodes * spec.node.slots)
    sizes = [size for size in range(min(share, LARGEST), 0, -1) if share % size == 0]
    for checkpointing in ways(spec):
        for size in sizes:
            choice = Choice(size, checkpointing)
            if estimate_of(choice).fits(memory):
                return choice
    return least(spec)


def least(spec: QLoRAJobSpec) -> Choice:
    """The choice that needs the least memory."""
    return Choice(1, ways(spec)[-1])


def ways(spec: QLoRAJobSpec) -> list[bool]:
    """Without and with checkpointing, as far as job and method allow."""
    method, quantization = spec.adapter.method, spec.quantization.type
    cell = Cell(method, quantization, spec.deepspeed.zero_stage, True)
    return [False, True] if spec.training.gradient_checkpointing and refusal(cell) is None else [False]
