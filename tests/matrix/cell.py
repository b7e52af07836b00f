"""One combination of the matrix, tried by one rank."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import torch
from deepspeed import comm
from safetensors.torch import load_file

from qlora_api.job_file import JobFile
from qlora_api.methods import Cell
from qlora_trainer.rank.adalora import RankAllocation
from qlora_trainer.rank.engine import make_engine
from qlora_trainer.rank.export import save_adapter
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.model import load_model
from qlora_trainer.rank.partitions import trainable
from qlora_trainer.rank.state import gather_parameters, gather_state
from unit.trainer.pods import spec

STEPS = 2
NOTHING_STAYS_WHOLE = {"stage3_param_persistence_threshold": 0}
"""ZeRO-3 does not cut small parameters, and those of a tiny model are all small."""
_SIZES: dict[str, dict[str, Any]] = {
    "vera": {"rank": 8},
    "oft": {"blockSize": 8},
    "ia3": {},
    "prefix-tuning": {"virtualTokens": 4},
    "prompt-tuning": {"virtualTokens": 4},
    "p-tuning": {"virtualTokens": 4},
}


def job_of(cell: Cell, world_size: int, changes: dict[str, Any], accelerator: str) -> JobFile:
    """The smallest job for it, in bfloat16 as on a GPU; `changes` update parts of its spec."""
    parts: dict[str, dict[str, Any]] = {
        "quantization": {"type": cell.quantization, "computeDtype": "bfloat16"},
        "adapter": {"rank": None, "method": cell.method, **_SIZES.get(cell.method, {"rank": 4})},
        "training": {
            "globalBatchSize": world_size,
            "gradientCheckpointing": cell.checkpointing,
            "learningRate": 0.01,
        },
        "node": {"accelerator": "cpu" if accelerator == "cpu" else "nvidia.com/gpu"},
        "deepspeed": {"zeroStage": cell.stage, "config": {"zero_optimization": NOTHING_STAYS_WHOLE}},
    }
    merged = {part: {**fields, **changes.get(part, {})} for part, fields in parts.items()}
    hosts = [f"host-{number}" for number in range(world_size)]
    return JobFile(
        name="job", namespace="default", uid="uid", attempt=1, slots=1, termination_grace_period_seconds=30,
        hosts=hosts, spec=spec(**merged),
    )  # fmt: skip


def try_cell(job: JobFile, model_folder: Path, dataset: Any, output: Path, device: torch.device) -> dict[str, Any]:
    """Trains a few steps, with a checkpoint between them, and saves the adapter. Collective.

    Raises:
        AssertionError: a gradient is not finite, the adapter has not changed, or it differs between ranks.
    """
    rank = comm.get_rank()
    model = load_model(str(model_folder), job.spec, device)
    engine = make_engine(model, job)
    allocation = RankAllocation(engine, of=10) if job.spec.adapter.method == "adalora" else None
    before = None
    losses = []
    for step in range(STEPS):
        loss = loss_sum(engine, collate(dataset, [rank]))
        engine.backward(loss / 10 + (allocation.penalty() if allocation else 0), scale_wrt_gas=False)
        if allocation:
            allocation.before_step()
        engine.step()
        if allocation:
            allocation.after_step(step + 1)
        losses.append(loss.item())
        assert math.isfinite(losses[-1]), f"loss {losses[-1]}"
        state = gather_state(engine)
        gradients = [value for name, value in state.items() if name.startswith("exp_avg/")]
        assert any(value.any() for value in gradients), "no gradient"
        parameters = {name: value for name, value in state.items() if name.startswith("parameter/")}
        assert all(value.isfinite().all() for value in state.values())
        if before is not None:
            changed = [name for name, value in parameters.items() if not torch.equal(value, before[name])]
            assert changed, "the adapter has not changed"
        before = parameters
        _same_everywhere(engine, parameters)
    saved = gather_parameters(engine)
    if rank == 0:
        save_adapter(engine, saved, output)
        tensors = load_file(output / "adapter_model.safetensors")
        assert tensors, "the adapter's file is empty"
        assert all(tensor.numel() and tensor.isfinite().all() for tensor in tensors.values()), "a tensor is empty"
    comm.barrier()
    engine.destroy()
    del engine, model
    gc.collect()
    return {"losses": losses, "trained": len(saved)}


def _same_everywhere(engine: Any, parameters: dict[str, torch.Tensor]) -> None:
    """What the model reads is the master on every rank."""
    for name, parameter in trainable(engine).items():
        master = parameters[f"parameter/{name}"]
        if parameter.shape == master.shape:
            assert torch.equal(parameter.detach().cpu(), master), f"{name} differs on rank {comm.get_rank()}"
