"""ZeRO's part of DeepSpeed's JSON, as far as the job alone decides it."""

from __future__ import annotations

from typing import Any

from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.deepspeed_config.handed_on import handed_on


def zero_options(spec: QLoRAJobSpec) -> dict[str, Any]:
    """Stage and what lies on the host, over the user's own `zero_optimization`."""
    ours = spec.deepspeed
    zero = {**handed_on(ours.config).get("zero_optimization", {}), "stage": ours.zero_stage}
    for key, device in (("offload_optimizer", ours.offload_optimizer), ("offload_param", ours.offload_parameters)):
        options = zero.pop(key, {})
        if device != "none":
            zero[key] = {"pin_memory": spec.node.accelerator != "cpu", **options, "device": device}
    return zero
