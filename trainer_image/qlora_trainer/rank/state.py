"""The training state by parameter name, gathered from the ranks and given back to them.

ZeRO cuts float32 masters and Adam's moments into flat partitions, one a rank. A checkpoint of those would fit only the
same world size and stage. Each parameter knows its place in the partition (`_hp_mapping`, see
deepspeed/utils/tensor_fragment.py): all fragments go into one flat tensor, which a single all-reduce completes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from deepspeed import comm

MOMENTS = ("exp_avg", "exp_avg_sq")
KINDS = ("parameter", *MOMENTS)

State = dict[str, torch.Tensor]
"""`parameter/<name>`, `exp_avg/<name>`, `exp_avg_sq/<name>`: float32, in the shape of the parameter."""


def trainable(engine: Any) -> dict[str, torch.nn.Parameter]:
    """The adapter's parameters by name."""
    return {name: p for name, p in engine.module.named_parameters() if p.requires_grad}


def gather_state(engine: Any) -> State:
    """The whole state, in new CPU tensors. Collective: every rank calls it, after at least one step."""
    parameters = trainable(engine)
    total = sum(p.numel() for p in parameters.values())
    device = next(iter(parameters.values())).device
    flat = torch.zeros(len(KINDS), total, dtype=torch.float32, device=device)
    offset = 0
    for parameter in parameters.values():
        for row, kind in enumerate(KINDS):
            place = flat[row, offset : offset + parameter.numel()]
            for part, held in _fragments(engine, parameter, kind):
                place[part].copy_(held)
        offset += parameter.numel()
    if _is_partitioned(engine):
        comm.all_reduce(flat)
    flat = flat.cpu()
    state: State = {}
    for row, kind in enumerate(KINDS):
        pieces = torch.split(flat[row], [p.numel() for p in parameters.values()])
        state |= {
            f"{kind}/{name}": piece.view(p.shape) for (name, p), piece in zip(parameters.items(), pieces, strict=True)
        }
    return state


def restore_state(engine: Any, state: State, step: int) -> None:
    """Puts the state of `step` optimizer steps into a new engine. Every rank calls it with the same state."""
    for flat in _optimizer_tensors(engine):
        _adam(engine).state[flat] = {
            "step": torch.tensor(float(step)),
            **{moment: torch.zeros_like(flat) for moment in MOMENTS},
        }
    for name, parameter in trainable(engine).items():
        parameter.data.copy_(state[f"parameter/{name}"])
        for kind in KINDS:
            whole = state[f"{kind}/{name}"].flatten()
            for part, held in _fragments(engine, parameter, kind):
                held.copy_(whole[part])


def _is_partitioned(engine: Any) -> bool:
    return hasattr(engine.optimizer, "single_partition_of_fp32_groups")


def _adam(engine: Any) -> torch.optim.Optimizer:
    """The AdamW inside, which DeepSpeed wraps at stages 1 and 2."""
    adam: torch.optim.Optimizer = engine.optimizer.optimizer if _is_partitioned(engine) else engine.optimizer
    return adam


def _optimizer_tensors(engine: Any) -> list[torch.Tensor]:
    """What AdamW steps on: flat partitions, or the parameters themselves."""
    if _is_partitioned(engine):
        return list(engine.optimizer.single_partition_of_fp32_groups)
    return list(trainable(engine).values())


def _fragments(engine: Any, parameter: Any, kind: str) -> Iterator[tuple[slice, torch.Tensor]]:
    """The part of a parameter that this rank holds, as (place in the flat parameter, tensor), or nothing."""
    if not _is_partitioned(engine):
        whole = parameter.data if kind == "parameter" else _adam(engine).state[parameter][kind]
        yield slice(0, parameter.numel()), whole.view(-1)
        return
    mapping = parameter._hp_mapping
    if mapping is None:
        return
    partition = engine.optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
    held = partition.data if kind == "parameter" else _adam(engine).state[partition][kind]
    here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
    yield slice(there.start, there.start + there.numel), held.narrow(0, here.start, here.numel)
