"""Whether the training will fit on the GPU, told before the model is loaded."""

from __future__ import annotations

from pathlib import Path

from qlora_api.estimate import Estimate, Rows, estimate
from qlora_api.estimate.breakdown import GIB
from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.weights import read_folder_shapes
from qlora_trainer.files import read_json
from qlora_trainer.rank.data import Dataset


def foresee(spec: QLoRAJobSpec, model: Path, dataset: Dataset, memory: int | None) -> int | None:
    """Bytes that this rank will allocate at most, from the rows that it trains on.

    Args:
        spec: the job's.
        model: folder of the base.
        dataset: what is learned.
        memory: bytes of the GPU; None without one.

    Returns:
        None without a GPU, or if the model is of a kind that cannot be estimated.

    Raises:
        TrainerError: GPUOutOfMemory, if even the longest sequence alone cannot fit, with some room for error.
    """
    if memory is None:
        return None
    shapes, config = read_folder_shapes(model), read_json(model / "config.json") or {}
    longest = int(dataset.lengths.argmax())
    length, learned = int(dataset.lengths[longest]), int(dataset.targets.max())
    try:
        least = estimate(spec, shapes, config, is_masked=False, rows=Rows(length, int(dataset.targets[longest])))
        most = estimate(spec, shapes, config, rows=Rows(length, spec.training.micro_batch_size * learned))
    except ValueError as error:
        log.event("memory_unknown", message=str(error))
        return None
    log.event("memory", predicted=most.allocated, most_in=most.peak.name, largest=most.largest_part, gpu=memory)
    if least.is_hopeless(memory):
        raise TrainerError(Reason.GPU_OUT_OF_MEMORY, _too_much(spec, least, memory))
    return most.allocated


def _too_much(spec: QLoRAJobSpec, found: Estimate, memory: int) -> str:
    size = found.peak.parts[found.largest_part]
    return (
        f"a rank needs about {found.allocated / GIB:.1f} GiB, {size / GIB:.1f} of them for {found.largest_part}, and "
        f"its GPU has {memory / GIB:.1f}; write {_advice(spec, found.largest_part)}"
    )


def _advice(spec: QLoRAJobSpec, part: str) -> str:
    """What makes the largest part smaller."""
    training = spec.training
    if part.startswith(("weights", "embeddings")):
        is_whole = spec.quantization.type in ("none", "int8")
        return "quantization.type: nf4" if is_whole else "deepspeed.zeroStage: 3, or take a smaller model"
    if part in ("adapter", "optimizer", "gradients", "work of the optimizer"):
        return "a smaller adapter.rank, or training.optimizer: adamw-8bit"
    if part == "kept activations" and not training.gradient_checkpointing:
        return "training.gradientCheckpointing: true"
    if training.micro_batch_size > 1:
        return f"training.microBatchSize: {training.micro_batch_size // 2}"
    return "a smaller training.sequenceLength"
