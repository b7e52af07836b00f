"""Which modules of a vision-language model are adapted, trained whole, and left unquantised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from peft import LoraConfig
from peft.utils.constants import DUMMY_TARGET_MODULES

from qlora_api.spec import AdapterSpec, QLoRAJobSpec, TowerName
from qlora_api.spec.towers import TOWERS
from qlora_trainer.fetch.families import Family
from qlora_trainer.fetch.tower_targets import tower_targets

_FULL = "full"


def unquantised(family: Family, spec: QLoRAJobSpec) -> list[str]:
    """Patterns of the modules that bitsandbytes leaves as they are: towers that are trained whole or not at all, and
    the output layer."""
    methods = {tower.name: tower.method for tower in spec.adapter.trained_towers}
    frozen = _FULL if not spec.quantization.frozen_towers else ""
    return ["lm_head", *(family.pattern(name) for name in TOWERS if methods.get(name, frozen) == _FULL)]


def towers_config(model: Any, family: Family, adapter: AdapterSpec) -> LoraConfig:
    """One adapter for all towers that are trained.

    PEFT scales by alpha / rank in all of it: for rslora alpha is what makes that alpha / sqrt(rank).

    Args:
        model: the base.
        family: of the model.
        adapter: with methods for towers.

    Raises:
        TrainerError: UserError, if a tower has no module that is named as a target.
    """
    targets: list[str] = []
    whole: list[str] = []
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    adapted = [tower for tower in adapter.trained_towers if tower.method != _FULL]
    for tower in adapter.trained_towers:
        if tower.method == _FULL:
            whole += smallest_with_weights(model, family, tower.name)
            continue
        targets += tower_targets(model, family, tower)
        pattern = family.pattern(tower.name)
        ranks[pattern] = tower.rank
        alphas[pattern] = tower.alpha * math.sqrt(tower.rank) if tower.method == "rslora" else tower.alpha
    given = adapter.parameters
    return LoraConfig(
        r=given["rank"],
        lora_alpha=given["alpha"],
        lora_dropout=given["dropout"],
        use_dora=any(tower.method == "dora" for tower in adapted),
        target_modules=targets or DUMMY_TARGET_MODULES,  # with whole towers only
        rank_pattern=ranks,
        alpha_pattern=alphas,
        modules_to_save=whole or None,
        task_type="CAUSAL_LM",
    )


def smallest_with_weights(model: Any, family: Family, tower: TowerName) -> list[str]:
    """Names of modules that have all weights of a tower, each as far within the model as it can be.

    Small, since what PEFT trains whole is cast to float32 and back around each of them.
    """
    found: list[str] = []
    for name, module in model.named_modules():
        has_weights = any(True for _ in module.named_parameters(recurse=False))
        is_inside = bool(found) and name.startswith(f"{found[-1]}.")
        if has_weights and not is_inside and family.tower_of(name) == tower:
            found.append(name)
    return found


def base_names(model: Any) -> Iterator[tuple[str, Any]]:
    """The trained parameters of a PEFT model, by their names in the base."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name.removeprefix("base_model.model."), parameter
