"""The training state by parameter name, gathered from the ranks and given back to them.

A checkpoint of ZeRO's own partitions would fit only the same world size and stage. Here every rank writes what it holds
(see partitions.py) into one flat tensor, which a single all-reduce completes.
"""

from __future__ import annotations

from typing import Any

import torch
from deepspeed import comm

from qlora_trainer.rank.optimizers import moments_of, set_moments
from qlora_trainer.rank.partitions import (
    inner_optimizer,
    is_partitioned,
    masters,
    piece,
    shape_of,
    trainable,
    write_parameter,
)

MOMENTS = ("exp_avg", "exp_avg_sq")
KINDS = ("parameter", *MOMENTS)

State = dict[str, torch.Tensor]
"""`parameter/<name>`, `exp_avg/<name>`, `exp_avg_sq/<name>`: float32, in the shape of the parameter."""


def gather_state(engine: Any) -> State:
    """The whole state, in new CPU tensors. Collective: every rank calls it, after at least one step."""
    optimizer = inner_optimizer(engine)
    return _gather(engine, {id(master): (master.data, *moments_of(optimizer, master)) for master in masters(engine)})


def gather_parameters(engine: Any) -> dict[str, torch.Tensor]:
    """The whole adapter by parameter name, in new float32 CPU tensors. Collective."""
    state = _gather(engine, {id(master): (master.data,) for master in masters(engine)})
    return {name.removeprefix("parameter/"): value for name, value in state.items()}


def _gather(engine: Any, held: dict[int, tuple[torch.Tensor, ...]]) -> State:
    """Completes tensors that are laid out as the masters; as many KINDS as there are tensors for each."""
    parameters = trainable(engine)
    sizes = [shape_of(p).numel() for p in parameters.values()]
    kinds = KINDS[: len(next(iter(held.values())))]
    flat = torch.zeros(len(kinds), sum(sizes), dtype=torch.float32, device=engine.device)
    offset = 0
    for parameter, size in zip(parameters.values(), sizes, strict=True):
        mine = piece(engine, parameter)
        if mine is not None:
            for row, tensor in enumerate(held[id(mine.master)]):
                flat[row, offset : offset + size][mine.place].copy_(mine.of(tensor))
        offset += size
    if is_partitioned(engine):
        comm.all_reduce(flat)
    flat = flat.cpu()
    return {
        f"{kind}/{name}": values.view(shape_of(parameter))
        for row, kind in enumerate(kinds)
        for (name, parameter), values in zip(parameters.items(), torch.split(flat[row], sizes), strict=True)
    }


def restore_state(engine: Any, state: State, step: int) -> None:
    """Puts the state of `step` optimizer steps into a new engine. Every rank calls it with the same state."""
    moments = {id(master): tuple(torch.zeros_like(master) for _ in MOMENTS) for master in masters(engine)}
    for name, parameter in trainable(engine).items():
        write_parameter(engine, parameter, state[f"parameter/{name}"])
        mine = piece(engine, parameter)
        if mine is not None:
            for kind, tensor in zip(MOMENTS, moments[id(mine.master)], strict=True):
                mine.of(tensor).copy_(state[f"{kind}/{name}"].flatten()[mine.place])
    for master in masters(engine):
        set_moments(inner_optimizer(engine), master, step, *moments[id(master)])
