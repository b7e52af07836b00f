"""The norm of the gradients, and clipping by it, in a few kernels.

DeepSpeed starts three for each tensor and computes in float64 (runtime/zero/stage_1_and_2.py, `get_grad_norm_direct`):
with hundreds of small tensors the GPU waits for the host longer than the sums take. Without ZeRO it keeps the norm to
itself (runtime/engine.py, `clip_fp32_gradients`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from deepspeed import comm
from torch.nn.utils import clip_grad_norm_, get_total_norm

INVALID = -1.0
"""What DeepSpeed takes for a norm that is not finite; it leaves the step out then."""


def replace_norm(engine: Any) -> None:
    """Lets an engine of ZeRO-0, 1 or 2 compute the norm by these functions, but with an optimizer on the host."""
    stage = engine.zero_optimization_stage()
    if stage == 0:
        engine.clip_fp32_gradients = lambda: _clip(engine)
    elif stage < 3:
        engine.optimizer.get_grad_norm_direct = lambda gradients, *_: _norm(engine.optimizer, gradients)


def _clip(engine: Any) -> None:
    """The gradients are the same on every rank."""
    parameters = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
    engine._global_grad_norm = clip_grad_norm_(parameters, engine.gradient_clipping())


def _norm(optimizer: Any, gradients: Iterable[torch.Tensor]) -> torch.Tensor:
    """Of all ranks' gradients, each of which has some of its own."""
    own = [each for each in gradients if not getattr(each, "_zero_padding", False)]
    squared = get_total_norm(own).square() if own else torch.zeros((), device=optimizer.device)
    comm.all_reduce(squared, group=optimizer.dp_process_group)
    return torch.where(squared.isfinite(), squared.sqrt(), INVALID)
