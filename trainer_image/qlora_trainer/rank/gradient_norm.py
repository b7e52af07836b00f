"""The norm of a rank's gradients in a few kernels.

DeepSpeed starts three for each tensor and computes in float64 (runtime/zero/stage_1_and_2.py, `get_grad_norm_direct`):
with hundreds of small tensors the GPU waits for the host longer than the sums take.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from deepspeed import comm
from torch.nn.utils import get_total_norm

INVALID = -1.0
"""What DeepSpeed takes for a norm that is not finite; it leaves the step out then."""


def speed_up(optimizer: Any) -> None:
    """Replaces the method of the optimizer of ZeRO-1 and 2; others stay as they are."""
    if not hasattr(optimizer, "real_dp_process_group") or not hasattr(optimizer, "get_grad_norm_direct"):
        return

    def norm(gradients: Iterable[torch.Tensor], _: Any, norm_type: float = 2) -> torch.Tensor:
        assert norm_type == 2, "clipping is by the Euclidean norm"
        own = [each for each in gradients if not getattr(each, "_zero_padding", False)]
        squared = get_total_norm(own, norm_type).square() if own else torch.zeros((), device=optimizer.device)
        comm.all_reduce(squared, group=optimizer.dp_process_group)
        return torch.where(squared.isfinite(), squared.sqrt(), INVALID)

    optimizer.get_grad_norm_direct = norm
