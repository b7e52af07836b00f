"""`spec.training` and `spec.checkpoint`: how long, how fast, in which portions, and how often it is saved."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qlora_api.base import ApiModel
from qlora_api.spec.texts import Duration


class TrainingSpec(ApiModel):
    """How long, how fast and in which portions."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the dataset."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Optimizer steps after which training ends, even within an epoch. Default: no such limit."""
    global_batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    """Sequences of one optimizer step, over all nodes: the result does not depend on how many nodes there are."""
    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Sequences that one rank holds at once. More is faster and needs more memory."""
    sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = 2048
    """Tokens of a sequence at most. Longer rows are cut at the end, longer texts into pieces."""
    packing: bool = False
    """Fill each sequence with several rows, which do not see each other: faster when rows are shorter than
    sequenceLength. Then globalBatchSize counts filled sequences, so there are fewer steps."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Learning rate after the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """Part of all steps in which the learning rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight decay of the adapter."""
    optimizer: Literal["adamw", "paged-adamw", "adamw-8bit", "paged-adamw-8bit"] = "adamw"
    """AdamW and where its state lies. paged: moves to the host when the GPU's memory is full; 8bit: a quarter of the
    memory. Both are bitsandbytes' and need a GPU."""
    max_gradient_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Gradients are scaled down to this norm."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass: less memory, about a third more time."""
    kernels: Literal["auto", "plain", "fused", "compiled"] = "auto"
    """How a layer is computed; the result is the same. plain: PEFT's and transformers' own modules; fused: their slow
    parts replaced; compiled: one compiled layer, for common families. auto: the fastest that the model and the job
    allow on a GPU; on a CPU plain. docs/kernels.md says what each needs."""
    fit: Literal["manual", "auto"] = "manual"
    """auto: the largest microBatchSize for the GPU's memory, and gradientCheckpointing only where nothing fits without;
    the result is the same. manual: both as they are written."""
    on_gpu_out_of_memory: Annotated[Literal["fail", "halve-micro-batch"], Field(alias="onGPUOutOfMemory")] = "fail"
    """What follows when a GPU's memory does not suffice in training. fail: the job fails; halve-micro-batch: a new
    attempt goes on from the last checkpoint with half of the micro-batch, at the same globalBatchSize, again and again
    down to 1; after that with gradient checkpointing, where fit: auto has left it out. These attempts do not count as
    restarts."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] = 42
    """Seed of the adapter's initial values and of the order of the data."""


class CheckpointSpec(ApiModel):
    """How often the training state is saved."""

    every: Duration = "60s"
    """Time between two checkpoints, such as 60s or 10m."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints that are kept."""
