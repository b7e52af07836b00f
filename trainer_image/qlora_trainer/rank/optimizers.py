"""The optimizer of a job, and its two moments in one form.

All of them are AdamW. They differ in where the moments lie (on the device; in pages that move to the host when the
device is full; on the host, where DeepSpeed's own code steps), and in how many bits they have. A checkpoint holds them
in float32 whichever it is, so a run can go on with another one.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from qlora_api.job_file import JobFile
from qlora_trainer.deepspeed_config import adam_parameters
from qlora_trainer.fetch.families import FAMILIES
from qlora_trainer.rank.towers import base_names

COMPILED_ADAM = "deepspeed.ops.adam.cpu_adam_op"
BLOCK = 256
"""Elements of a moment in 8 bits that share a scale (bitsandbytes/optim/optimizer.py, `init_state`)."""


def make_optimizer(model: Any, job: JobFile) -> torch.optim.Optimizer:
    """AdamW on the adapter."""
    training, deepspeed = job.spec.training, job.spec.deepspeed
    groups = parameter_groups(model, job)
    given: dict[str, Any] = {
        "lr": training.learning_rate,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": training.weight_decay,
        **adam_parameters(deepspeed.config),
    }
    if deepspeed.offload_optimizer == "cpu":
        return _on_host(groups, given)
    if training.optimizer != "adamw":
        from bitsandbytes import optim

        kinds = {
            "paged-adamw": optim.PagedAdamW32bit,
            "adamw-8bit": optim.AdamW8bit,
            "paged-adamw-8bit": optim.PagedAdamW8bit,
        }
        of_bitsandbytes: torch.optim.Optimizer = kinds[training.optimizer](groups, **given)
        return of_bitsandbytes
    return torch.optim.AdamW(groups, **given)


def _on_host(groups: list[dict[str, Any]], given: dict[str, Any]) -> torch.optim.Optimizer:
    """DeepSpeed's Adam for the host's processor, as it was compiled with the image.

    DeepSpeed uses what was compiled only on the accelerator that it was compiled for, and would compile this again on a
    GPU, though the code is the same.
    """
    from deepspeed.ops.adam import cpu_adam

    if find_spec(COMPILED_ADAM) is not None:
        cpu_adam.CPUAdamBuilder.load = lambda self, verbose=False: import_module(COMPILED_ADAM)
    optimizer: torch.optim.Optimizer = cpu_adam.DeepSpeedCPUAdam(groups, **given)
    return optimizer


def parameter_groups(model: Any, job: JobFile) -> list[dict[str, Any]]:
    """The trained parameters; `rate_factor` is what the learning rate of a group is multiplied by.

    LoRA+ lets the matrices B learn faster, which start at zero (arXiv 2402.12354).
    """
    if job.spec.adapter.towers is not None:
        return _groups_of_towers(model, job)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    ratio = job.spec.adapter.parameters.get("learning_rate_ratio", 1.0)
    fast = [parameter for name, parameter in trained if ratio != 1.0 and "lora_B" in name]
    chosen = {id(parameter) for parameter in fast}
    slow = [parameter for _, parameter in trained if id(parameter) not in chosen]
    groups = [{"params": slow, "rate_factor": 1.0}, {"params": fast, "rate_factor": ratio}]
    return [group for group in groups if group["params"]]


def _groups_of_towers(model: Any, job: JobFile) -> list[dict[str, Any]]:
    """A group for each tower: those that learn at rates of their own."""
    family = FAMILIES[model.config.model_type]
    trained = [(family.tower_of(name), parameter) for name, parameter in base_names(model)]
    usual = job.spec.training.learning_rate
    return [
        {
            "params": [parameter for name, parameter in trained if name == tower.name],
            "rate_factor": (tower.learning_rate or usual) / usual,
        }
        for tower in job.spec.adapter.trained_towers
    ]


def moments_of(optimizer: Any, master: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first and second moment of what the optimizer steps on, float32, in its shape."""
    state = optimizer.state[master]
    if "exp_avg" in state:
        return state["exp_avg"], state["exp_avg_sq"]
    return _whole(state, 1), _whole(state, 2)


def set_moments(optimizer: Any, master: torch.Tensor, step: int, first: torch.Tensor, second: torch.Tensor) -> None:
    """Gives the optimizer the moments of `step` steps."""
    moments = {"exp_avg": first, "exp_avg_sq": second}
    if hasattr(optimizer, "ds_opt_adam"):
        optimizer.state[master] = {"step": step, **moments}
    elif hasattr(optimizer, "get_state_buffer"):
        group = optimizer.param_groups[0]
        listed, group["params"] = group["params"], [master]  # where it looks for settings of single parameters
        optimizer.init_state(group, master, 0, 0)
        group["params"] = listed
        state = optimizer.state[master]
        state["step"] = step
        _fill(state, 1, first)
        _fill(state, 2, second)
    else:
        optimizer.state[master] = {"step": torch.tensor(float(step)), **moments}


def _whole(state: dict[str, Any], number: int) -> torch.Tensor:
    """A moment of bitsandbytes: float32, or bytes with a scale for each block."""
    held: torch.Tensor = state[f"state{number}"]
    if held.dtype == torch.float32:
        return held
    from bitsandbytes.functional import dequantize_blockwise

    scales = state[f"absmax{number}"]
    on_device = held.to(scales.device)  # pages lie on the host as far as torch knows
    whole: torch.Tensor = dequantize_blockwise(on_device, absmax=scales, code=state[f"qmap{number}"], blocksize=BLOCK)
    return whole


def _fill(state: dict[str, Any], number: int, moment: torch.Tensor) -> None:
    held: torch.Tensor = state[f"state{number}"]
    if held.dtype == torch.float32:
        held.copy_(moment)
        return
    from bitsandbytes.functional import quantize_blockwise

    packed, scales = quantize_blockwise(moment, code=state[f"qmap{number}"], blocksize=BLOCK)
    held.copy_(packed)
    state[f"absmax{number}"].copy_(scales.absmax)
