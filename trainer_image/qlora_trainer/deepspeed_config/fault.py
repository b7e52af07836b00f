"""What in a DeepSpeed configuration cannot be followed, whatever the job says."""

from __future__ import annotations

from qlora_trainer.deepspeed_config.keys import (
    AUTO,
    COMMUNICATION,
    COMMUNICATION_DTYPES,
    KNOWN,
    Config,
    at,
    stated,
    text,
)

ADAM = ("Adam", "AdamW")


def fault(config: Config) -> str:
    """The first fault as a sentence that begins with its key, or an empty text."""
    return _unknown(config) or _optimizer(config) or _schedule(config) or _offload(config) or _communication(config)


def _unknown(config: Config) -> str:
    for path, keys in KNOWN.items():
        part = at(config, path)
        if part is None:
            continue
        if not isinstance(part, dict):
            return f"{path}: {text(part)} is no object; write one as DeepSpeed documents it"
        for key in part:
            if key not in keys:
                return f"{f'{path}.' if path else ''}{key} does not go together with this trainer; remove it"
    return ""


def _optimizer(config: Config) -> str:
    kind = at(config, "optimizer.type")
    if stated(kind) and kind not in ADAM:
        return f"optimizer.type: {kind} is not available; write AdamW, or choose with training.optimizer"
    given = at(config, "optimizer.params") or {}
    if given.get("adam_w_mode") is False and given.get("weight_decay", 0) not in (0, AUTO):
        return "optimizer.params.adam_w_mode: false with weight_decay is not available; remove adam_w_mode"
    return ""


def _schedule(config: Config) -> str:
    """The schedule is the job's; a block in which everything is `auto` says the same."""
    for key, value in (at(config, "scheduler.params") or {}).items():
        if stated(value):
            return (
                f"scheduler.params.{key}: {text(value)} has no effect here; remove scheduler, "
                "and write training.schedule and training.warmupRatio"
            )
    return ""


def _offload(config: Config) -> str:
    for key in ("offload_optimizer", "offload_param"):
        device = at(config, f"zero_optimization.{key}.device")
        if stated(device) and device not in ("none", "cpu"):
            return f"zero_optimization.{key}.device: {device} is not available; write cpu or none"
    return ""


def _communication(config: Config) -> str:
    """DeepSpeed takes capital letters too. Small gradients would vanish in fp16, since no loss is scaled."""
    name = at(config, COMMUNICATION)
    if stated(name) and str(name).lower() not in COMMUNICATION_DTYPES:
        return f"{COMMUNICATION}: {text(name)} is not available; write bf16 or fp32"
    return ""
