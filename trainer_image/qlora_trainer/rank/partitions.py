"""Where a rank holds its part of each trained parameter.

ZeRO cuts float32 masters and the optimizer's moments into partitions, one a rank, which the optimizer sees as flat
tensors. Stages 1 and 2 lay all parameters of a group end to end and cut that (`_hp_mapping`, see
deepspeed/utils/tensor_fragment.py); stage 3 cuts each parameter and lays the parts end to end (`grad_position`, see
deepspeed/runtime/zero/stage3.py). At stage 0 nothing is cut.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from deepspeed import comm


class Piece(NamedTuple):
    """The part of one parameter that this rank holds."""

    place: slice
    """Where it lies in the flat parameter."""
    master: torch.Tensor
    """The tensor that the optimizer steps on."""
    start: int
    """Where the part begins in the flat master."""

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part of a tensor that is laid out as the master."""
        return tensor.view(-1).narrow(0, self.start, self.place.stop - self.place.start)


def trainable(engine: Any) -> dict[str, torch.nn.Parameter]:
    """The adapter's parameters by name."""
    return {name: p for name, p in engine.module.named_parameters() if p.requires_grad}


def shape_of(parameter: Any) -> torch.Size:
    """The shape of the whole parameter."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def is_partitioned(engine: Any) -> bool:
    """Whether a rank holds only a part of the state."""
    return bool(engine.zero_optimization_stage())


def inner_optimizer(engine: Any) -> Any:
    """The optimizer that DeepSpeed wraps at stages 1 to 3."""
    return engine.optimizer.optimizer if is_partitioned(engine) else engine.optimizer


def masters(engine: Any) -> list[torch.Tensor]:
    """What the optimizer steps on: flat partitions, or the parameters themselves."""
    match engine.zero_optimization_stage():
        case 0:
            return list(trainable(engine).values())
        case 3:
            return list(engine.optimizer.fp32_partitioned_groups_flat)
        case _:
            return list(engine.optimizer.single_partition_of_fp32_groups)


def piece(engine: Any, parameter: Any) -> Piece | None:
    """What this rank holds of a parameter; None if nothing."""
    match engine.zero_optimization_stage():
        case 0:
            return Piece(slice(0, parameter.numel()), parameter, 0)
        case 3:
            return _piece_of_stage_3(engine, parameter)
        case _:
            return _piece_of_stages_1_and_2(engine, parameter)


def write_parameter(engine: Any, parameter: Any, value: torch.Tensor) -> None:
    """Sets a whole parameter, in the master and where the model reads it."""
    if held := piece(engine, parameter):
        held.of(held.master.data).copy_(value.flatten()[held.place])
        if engine.zero_optimization_stage() == 3:
            length = held.place.stop - held.place.start
            parameter.ds_tensor.data.narrow(0, 0, length).copy_(value.flatten()[held.place])
    if parameter.shape == value.shape:  # at stage 3 only small parameters are whole between steps
        parameter.data.copy_(value)


def _piece_of_stages_1_and_2(engine: Any, parameter: Any) -> Piece | None:
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    master = engine.optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
    here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
    return Piece(slice(there.start, there.start + there.numel), master, here.start)


def _piece_of_stage_3(engine: Any, parameter: Any) -> Piece | None:
    group, start, size = engine.optimizer.grad_position[engine.optimizer.get_param_id(parameter)]
    begin = size * comm.get_rank()
    end = min(begin + size, parameter.ds_numel)  # the last parts are padded
    if end <= begin:
        return None
    return Piece(slice(begin, end), engine.optimizer.fp32_partitioned_groups_flat[group], start)
