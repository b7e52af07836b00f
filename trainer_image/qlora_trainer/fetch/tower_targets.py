"""Which modules of a tower get an adapter."""

from __future__ import annotations

from typing import Any

from qlora_api.reasons import Reason
from qlora_api.spec import Tower, TowerName
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import Family
from qlora_trainer.fetch.targets import ALL_LINEAR, unknown_targets


def tower_targets(model: Any, family: Family, tower: Tower) -> list[str]:
    """Whole names of the linear modules of a tower that its `targets` name.

    Args:
        model: the base, with or without weights.
        family: of the model.
        tower: trained by an adapter.

    Raises:
        TrainerError: UserError, if the tower has no module of that name.
    """
    modules = _linear_modules(model, family, tower.name)
    if not modules:
        raise _missing(f"adapter.towers.{tower.name}: it has no linear modules; write method: full")
    if tower.targets == ALL_LINEAR:
        return modules
    wanted = tower.targets.split(",")
    unknown = unknown_targets(wanted, modules)
    if unknown:
        endings = ", ".join(sorted({name.rpartition(".")[2] for name in modules}))
        raise _missing(
            f"adapter.towers.{tower.name}.targets: the {tower.name} tower has no linear module {unknown[0]!r}; write "
            f"{ALL_LINEAR}, or some of {endings}"
        )
    return [name for name in modules if any(not unknown_targets([target], [name]) for target in wanted)]


def _linear_modules(model: Any, family: Family, tower: TowerName) -> list[str]:
    from torch import nn

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and family.tower_of(name) == tower
    ]


def _missing(fault: str) -> TrainerError:
    return TrainerError(Reason.USER_ERROR, fault)
