"""One rank that trains with gradients in both data types at each stage: `link_worker.py MODEL OUTPUT`.

OUTPUT is a file of JSON: what was measured, and a trial for each stage and data type.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed import comm

from matrix.cell import job_of
from qlora_api.methods import STAGES, Cell
from qlora_trainer.rank import link
from qlora_trainer.rank.engine import make_engine
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.model import load_model
from qlora_trainer.rank.state import gather_state
from unit.trainer.random_rows import random_rows

STEPS = 8
MICRO_BATCHES = 2
"""Of a step and rank."""
COLLECTIVES = ("all_reduce", "reduce", "reduce_scatter_fn", "all_to_all_single")
FEW = 2
"""Elements up to which a message is a figure, such as a norm, and no gradient."""

sent: Counter[str] = Counter()
"""Elements that were added up, by data type."""


def watch() -> None:
    """Keeps in mind in which data type DeepSpeed sends what is added up."""
    for name in COLLECTIVES:
        setattr(comm, name, _watched(getattr(comm, name)))


def _watched(collective: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        tensors = [value for value in (*arguments, *named.values()) if isinstance(value, torch.Tensor)]
        largest = max(tensors, key=torch.Tensor.numel)
        if largest.numel() > FEW:
            sent[str(largest.dtype)] += largest.numel()
        return collective(*arguments, **named)

    return call


def trial(model: Path, stage: int, dtype: str, dataset: Any) -> dict[str, Any]:
    """Losses of all ranks together, and how the gradients travelled."""
    changes = {
        "quantization": {"computeDtype": "float32"},
        "deepspeed": {"communicationDtype": dtype},
        "training": {"globalBatchSize": 2 * MICRO_BATCHES, "learningRate": 0.01},
    }
    job = job_of(Cell("lora", "nf4", stage, False), 2, changes, "cpu")
    engine = make_engine(load_model(str(model), job.spec, torch.device("cpu")), job)
    sent.clear()
    losses, norms = [], []
    for _ in range(STEPS):
        total = torch.zeros(1, dtype=torch.float64)
        for number in range(MICRO_BATCHES):
            loss = loss_sum(engine, collate(dataset, [comm.get_rank() * MICRO_BATCHES + number]))
            engine.backward(loss / 20, scale_wrt_gas=False)
            engine.step()
            total += loss.detach().double()
        comm.all_reduce(total)
        losses.append(float(total))
        norms.append(float(engine.get_global_grad_norm()))
    gradients = dict(sent)
    state = gather_state(engine)
    engine.destroy()
    finite = all(bool(value.isfinite().all()) for value in state.values())
    return {"losses": losses, "norms": norms, "sent": gradients, "finite": finite}


def main() -> None:
    warnings.simplefilter("ignore")
    model, output = Path(sys.argv[1]), Path(sys.argv[2])
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    job = job_of(Cell("lora", "nf4", 1, False), 2, {"deepspeed": {"communicationDtype": "auto"}}, "cpu")
    found: dict[str, Any] = {"own": link.own_seconds(100_000)}
    link.own_seconds = lambda _: (0.01, 3.0)[comm.get_rank()]
    found["agreed"] = link.agreed_seconds(100_000)
    found["chosen"] = link.with_communication_dtype(job, 100_000).spec.deepspeed.communication_dtype
    watch()
    dataset = random_rows()
    for stage in STAGES:
        for dtype in ("float32", "bfloat16"):
            found[f"{stage} {dtype}"] = trial(model, stage, dtype, dataset)
    output.write_text(json.dumps(found))
    comm.barrier()
    os._exit(0)


main()
