"""One rank that loads models whole and in shares under ZeRO-3: `shards_worker.py TINY LARGE OUTPUT`.

OUTPUT is a file of JSON: bytes by which the large one raises the peak of memory, the weights that differ, and losses.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed import comm, zero

from matrix.cell import job_of
from qlora_api.job_file import JobFile
from qlora_api.methods import Cell
from qlora_trainer.rank import model as model_module
from qlora_trainer.rank.engine import make_engine
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.model import load_base, load_model
from qlora_trainer.rank.stage3 import has_shares
from unit.trainer.random_rows import random_rows

CPU = torch.device("cpu")
STEPS = 3
PAGE = os.sysconf("SC_PAGE_SIZE")
KINDS: dict[str, dict[str, Any]] = {
    "nf4": {"quantization": {}},
    "fp4, one constant a block": {"quantization": {"type": "fp4", "doubleQuant": False}},
    "stored as bfloat16": {"quantization": {"storageDtype": "bfloat16"}},
}
TRAINED: dict[str, dict[str, Any]] = {
    "lora": {},
    "modules": {"adapter": {"modulesToSave": "norm,lm_head"}},
    "small stay whole": {"quantization": {"computeDtype": "float32"}, "deepspeed": {"config": {}}},
}
load_shares = model_module.load_shares


def job(changes: dict[str, Any], method: str = "lora") -> JobFile:
    return job_of(Cell(method, "nf4", 3, False), 2, changes, "cpu")


def load_whole(*_: Any) -> None:
    """In place of `load_shares`: nothing is shared out while it is read."""


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def growth(folder: Path) -> int:
    """Bytes by which loading raises the peak of memory over what is held; imports have had a higher one before."""
    ballast = torch.ones(max(0, peak() - held()), dtype=torch.uint8)
    before = peak()
    base = load_base(str(folder), job({}).spec, CPU)
    grown = peak() - before
    del base, ballast
    return grown


def held() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def form(base: Any) -> dict[str, Any]:
    """Every weight, constant and buffer, whole."""
    found: dict[str, Any] = dict(base.named_buffers())
    for name, parameter in base.named_parameters():
        with zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            found[name] = parameter.detach().clone().as_subclass(torch.Tensor)
        state = getattr(parameter, "quant_state", None)
        for key, value in state.as_dict(packed=True).items() if state else ():
            found[f"{name}.{key}"] = value
    return found


def differences(folder: Path, changes: dict[str, Any]) -> list[str]:
    spec = job(changes).spec
    model_module.load_shares = load_shares
    shared = load_base(str(folder), spec, CPU)
    model_module.load_shares = load_whole
    whole = load_base(str(folder), spec, CPU)
    assert has_shares(shared)
    assert not has_shares(whole)
    assert shared.lm_head.weight is shared.model.embed_tokens.weight
    one, other = form(shared), form(whole)
    assert one.keys() == other.keys()
    return [name for name in one if not same_bits(one[name], other[name])]


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bytes, as 4 bits that are held as bfloat16 may be no numbers."""
    return one.dtype == other.dtype and torch.equal(
        one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)
    )


def losses(folder: Path, changes: dict[str, Any]) -> list[float]:
    trial = job(changes)
    engine = make_engine(load_model(str(folder), trial.spec, CPU), trial)
    found = []
    for _ in range(STEPS):
        loss = loss_sum(engine, collate(random_rows(), [comm.get_rank()]))
        engine.backward(loss / 10, scale_wrt_gas=False)
        engine.step()
        found.append(float(loss))
    engine.destroy()
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    tiny, large, output = map(Path, sys.argv[1:])
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    found: dict[str, Any] = {}
    growth(tiny)
    found["grown"] = growth(large)
    found["differences"] = {name: differences(tiny, changes) for name, changes in KINDS.items()}
    for way, load in {"shares": load_shares, "whole": load_whole}.items():
        model_module.load_shares = load
        found[way] = {name: losses(tiny, changes) for name, changes in TRAINED.items()}
    output.write_text(json.dumps(found))
    comm.barrier()
    os._exit(0)


main()
