"""What a rank leaves when the memory of its GPU ran out in training."""

from __future__ import annotations

from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import termination
from qlora_trainer.rank.outcome import explain


def too_large(error: BaseException, spec: QLoRAJobSpec, rank: int) -> Termination:
    """The outcome, with the portion that was too large: another attempt may hold less at once.

    Args:
        error: torch's OutOfMemoryError.
        spec: as this rank has trained, with what `training.fit` has chosen.
        rank: this rank.
    """
    _, message = explain(error)
    return termination.failed(
        Reason.GPU_OUT_OF_MEMORY,
        message,
        exception=f"{type(error).__module__}.{type(error).__qualname__}"[:256],
        rank=rank,
        micro_batch_size=spec.training.micro_batch_size,
        gradient_checkpointing=spec.training.gradient_checkpointing,
    )
