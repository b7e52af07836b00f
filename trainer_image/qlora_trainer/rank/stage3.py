"""What ZeRO-3 needs besides DeepSpeed's own doing: a base that is not whole, and weights for DoRA's norm.

DeepSpeed would put a whole model onto the device before it shares it out. A base that is not quantised need not be
there at all: it is read on the host and shared out weight by weight. One of 4 bits is shared out while it is read
(`sharded_load`).

DoRA takes the norm of the adapted weight when ZeRO-3 has given the base's weight back already, so it is gathered once
more. On a CPU, PEFT also puts a copy in place of a weight that it has dequantised: ZeRO-3 would not know it, and one of
8 bits has lost its scales.
"""

from __future__ import annotations

from typing import Any

import torch
from deepspeed import zero
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from peft.tuners.lora import dora
from peft.utils.integrations import dequantize_bnb_weight

from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.rank.initial import is_quantised


def is_shared_out_from_host(spec: QLoRAJobSpec) -> bool:
    """Whether the base is read on the host. bitsandbytes quantises on the device."""
    return spec.deepspeed.zero_stage == 3 and spec.quantization.type == "none"


def share_out(model: Any, config: dict[str, Any]) -> None:
    """Gives each rank its share of every parameter that is whole. Collective; before `deepspeed.initialize`.

    Args:
        model: the same on every rank.
        config: DeepSpeed's, of stage 3.
    """
    zero.Init(module=model, config_dict_or_path=config)
    device = get_accelerator().current_device_name()
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)


def has_shares(model: Any) -> bool:
    """Whether the rank holds only its share of some parameter already."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


class Sharing:
    """Shares out parameters one by one. Collective: every rank brings the same ones in the same order.

    DeepSpeed sends each from the first rank, and keeps this rank's part.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._convert: Any = None

    def __call__(self, parameter: torch.nn.Parameter) -> None:
        """Leaves this rank its share of a parameter that is on the device.

        Args:
            parameter: frozen, whole, in the form in which it is to be held.
        """
        if self._convert is None:
            zero.Init(module=torch.nn.ParameterList([parameter]), config_dict_or_path=self._config)
            self._convert = parameter.convert_to_zero_parameters  # type: ignore[attr-defined]
        else:
            self._convert(param_list=[parameter])


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
