"""The estimate as it is shown: parts in bytes, and the phases of a step in which they come together."""

from __future__ import annotations

from dataclasses import dataclass, field

GIB = 2**30
RUNTIME = 1340 * 2**20
"""CUDA's context, the kernels loaded into it, NCCL's buffers: outside torch's allocator. Measured on an H100 with torch
2.11: 1333 to 1339 MiB, whatever the job."""
WORKSPACE = 2 * 32 * 2**20
"""cuBLAS' workspace on Hopper, once for the forward and once for the backward thread (torch's CUDABlas.cpp)."""
FRAGMENTS = 0.08
"""Part of what is allocated that torch's allocator holds beyond it. Measured: 5 to 10 % without checkpointing, up to a
third with it, of which it gives most back when the GPU is full."""
TOLERANCE = 1.1
"""A job is refused only if its estimate is so many times the memory there is: the estimate's own error is no reason."""


@dataclass(frozen=True)
class Phase:
    """One moment of a training step, or before the first."""

    name: str
    parts: dict[str, int]
    """Bytes by what they are for, in the order in which they are shown."""

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Estimate:
    """What one rank needs on its GPU."""

    phases: list[Phase] = field(default_factory=list)

    @property
    def peak(self) -> Phase:
        """The phase that needs most."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def allocated(self) -> int:
        """Bytes that torch allocates at most: what `torch.cuda.max_memory_allocated` measures."""
        return self.peak.total

    @property
    def on_device(self) -> int:
        """Bytes of the GPU that are in use at most, as nvidia-smi shows them."""
        return int(self.allocated * (1 + FRAGMENTS)) + RUNTIME

    def fits(self, memory: int) -> bool:
        """Whether it is expected to fit into so many bytes."""
        return self.on_device <= memory

    def is_hopeless(self, memory: int) -> bool:
        """Whether it does not fit even if the estimate is too high by its usual error."""
        return self.allocated > TOLERANCE * memory

    @property
    def largest_part(self) -> str:
        """The part that needs most when the need is greatest."""
        parts = self.peak.parts
        return max(parts, key=lambda name: parts[name])
