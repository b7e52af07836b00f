"""What DoRA needs under ZeRO-3: the base's weight outside of the base layer's forward pass.

DoRA takes the norm of the adapted weight when ZeRO-3 has given the base's weight back already, so it is gathered once
more. On a CPU, PEFT also puts a copy in place of a weight that it has dequantised, which ZeRO-3 would not know.
"""

from __future__ import annotations

from typing import Any

import torch
from deepspeed import zero
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from peft.tuners.lora import dora
from peft.utils.integrations import dequantize_bnb_weight

from qlora_trainer.rank.initial import is_quantised


def let_dora_gather() -> None:
    """Makes DoRA ask for weights in a way that is right at every stage."""
    dora.dequantize_module_weight = whole_weight


def whole_weight(layer: Any) -> torch.Tensor:
    """The layer's weight in floating point, whole; the layer stays as it is. Collective if it is partitioned."""
    if getattr(layer.weight, "ds_status", None) == ZeroParamStatus.NOT_AVAILABLE:
        with zero.GatheredParameters([layer.weight]):
            return _dense(layer).clone()
    return _dense(layer)


def _dense(layer: Any) -> torch.Tensor:
    weight: torch.Tensor = layer.weight
    if is_quantised(layer):
        weight = dequantize_bnb_weight(layer.weight, state=getattr(layer, "state", None))
    return weight
