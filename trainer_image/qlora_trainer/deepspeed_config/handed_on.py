"""What DeepSpeed and the optimizer get of the user's configuration besides the job's own figures."""

from __future__ import annotations

from typing import Any

from qlora_trainer.deepspeed_config.keys import (
    ACCUMULATION,
    AUTO,
    COMMUNICATION_DTYPES,
    PRECISION,
    SHARED,
    Config,
    at,
    stated,
)

_OURS = {"optimizer", "scheduler", ACCUMULATION, *PRECISION, *(shared.key for shared in SHARED)}


def handed_on(config: Config) -> Config:
    """The configuration without `auto`, and without what the job says."""
    return _rest(config, "")


def adam_parameters(config: Config) -> dict[str, Any]:
    """betas and eps, where they are stated."""
    given = at(config, "optimizer.params") or {}
    return {key: given[key] for key in ("betas", "eps") if stated(given.get(key))}


def communication_data_type(dtype: str) -> str:
    """The job's `communicationDtype`, float32 or bfloat16, in DeepSpeed's words."""
    return next(name for name, ours in COMMUNICATION_DTYPES.items() if ours == dtype)


def _rest(block: Config, path: str) -> Config:
    kept: Config = {}
    for key, value in block.items():
        here = f"{path}{key}"
        if value == AUTO or here in _OURS:
            continue
        kept[key] = _rest(value, f"{here}.") if isinstance(value, dict) else value
    return kept
