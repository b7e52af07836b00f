"""AdaLoRA (arXiv 2303.10512): begins with spare rank everywhere and takes it away where it matters least.

PEFT decides what matters, from parameters and their gradients. Here is what it needs around it: the steps of the job,
whole gradients from ZeRO's partitions, masks that reach the masters, the loss term that keeps the matrices orthogonal,
and what it knows in the checkpoint.
"""

from __future__ import annotations

from typing import Any

import torch
from deepspeed.utils import safe_get_full_grad

from qlora_trainer.rank.partitions import trainable, write_parameter
from qlora_trainer.rank.state import State

WARM_UP, COOL_DOWN = 0.1, 0.3
"""Parts of the training before rank is taken away and after it was."""
_AVERAGES = ("exp_avg_ipt", "exp_avg_unc")
_KEPT = "rank_kept/"


class RankAllocation:
    """Takes rank away step by step.

    Args:
        engine: around the PEFT model.
        of: optimizer steps in all.
    """

    def __init__(self, engine: Any, of: int) -> None:
        self._engine = engine
        self._tuner = engine.module.base_model
        self._config = self._tuner.peft_config["default"]
        self._config.total_step = of
        self._config.tinit, self._config.tfinal = int(WARM_UP * of), int(COOL_DOWN * of)
        self._gradients: dict[str, torch.Tensor] = {}

    def penalty(self) -> torch.Tensor:
        """A scalar to add to the mean loss: how far A A' and B' B are from the identity, weighted as in PEFT."""
        distances = []
        for name, parameter in trainable(self._engine).items():
            if "lora_A" in name or "lora_B" in name:
                product = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
                distances.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
        weight: float = self._config.orth_reg_weight
        return weight * torch.stack(distances).mean()

    def before_step(self) -> None:
        """Keeps the gradients of this step. Collective; after the last backward pass of a step."""
        self._gradients = {name: safe_get_full_grad(p).clone() for name, p in trainable(self._engine).items()}

    def after_step(self, step: int) -> None:
        """Updates what matters, and takes rank away where it is due. Every rank comes to the same result.

        Args:
            step: optimizer steps done.
        """
        parameters = trainable(self._engine)
        for name, parameter in parameters.items():
            parameter.grad = self._gradients[name]
        self._tuner.update_and_allocate(step)
        for name, parameter in parameters.items():
            parameter.grad = None
            if "lora_E" in name:
                write_parameter(self._engine, parameter, parameter.detach().clone())
        self._gradients = {}

    def state(self) -> State:
        """What a checkpoint needs besides the parameters."""
        allocator = self._tuner.rankallocator
        state = {
            f"{average}/{name}": value.float().cpu().clone()
            for average in _AVERAGES
            for name, value in getattr(allocator, average).items()
        }
        kept = self._config.rank_pattern or {}
        return state | {f"{_KEPT}{name}": torch.tensor(mask, dtype=torch.uint8) for name, mask in kept.items()}

    def restore(self, state: State) -> None:
        """Puts back what `state` has told."""
        allocator = self._tuner.rankallocator
        for average in _AVERAGES:
            found = {
                key.removeprefix(f"{average}/"): value.to(self._engine.device)
                for key, value in state.items()
                if key.startswith(f"{average}/")
            }
            setattr(allocator, average, found)
        allocator.ipt = {name: torch.zeros_like(value) for name, value in allocator.exp_avg_ipt.items()}
        kept = {key.removeprefix(_KEPT): value for key, value in state.items() if key.startswith(_KEPT)}
        self._config.rank_pattern = {name: mask.bool().tolist() for name, mask in kept.items()} or None
