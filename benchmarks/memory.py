"""The memory of a GPU that a training step needs, predicted and measured, for models of real shapes.

    PYTHONPATH=crds:trainer_image:. python -m benchmarks.memory [--json FILE] [--seconds 270] [--only NAME]

It needs one CUDA GPU, and the trainer's libraries. The weights are random and are made on the GPU. Each line trains
three steps of two micro-batches with the trainer's own engine and loss, and is measured in the last two. The table is
that of docs/memory.md; a line that fails is told at its end, and the others are measured all the same.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import time
import traceback
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import deepspeed
import torch
from benchmarks.random_model import config_of, loading, random_base
from transformers import AutoModelForCausalLM

from qlora_api.estimate import estimate
from qlora_api.job_file import JobFile
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.fused.choice import all_agree, choose
from qlora_trainer.rank import model as model_module
from qlora_trainer.rank.engine import make_engine
from qlora_trainer.rank.likelihood import IGNORED
from qlora_trainer.rank.loss import MicroBatch

MIB = 2**20


class Case(NamedTuple):
    """How one line trains."""

    shape: str
    micro_batch: int
    length: int
    checkpointing: bool
    stage: int = 1
    optimizer: str = "adamw"
    rank: int = 16
    is_padded: bool = False
    quantization: str = "nf4"
    kernels: str = "plain"

    @property
    def name(self) -> str:
        """The shape, and what is unlike the other lines."""
        found = [self.shape]
        found += [f"rank {self.rank}"] if self.rank != 16 else []
        found += ["rows of different lengths"] if self.is_padded else []
        found += [self.kernels] if self.kernels != "plain" else []
        found += ["not quantised"] if self.quantization == "none" else []
        return ", ".join(found)

    @property
    def columns(self) -> list[str]:
        """The line's beginning in the table."""
        checkpointing = "yes" if self.checkpointing else "no"
        return [self.name, f"{self.micro_batch} x {self.length}", checkpointing, str(self.stage), self.optimizer]


HEADER = [
    "model's shape",
    "micro-batch x length",
    "checkpointing",
    "ZeRO",
    "optimizer",
    "predicted",
    "measured",
    "ratio",
]
CASES = [
    Case("Qwen2.5-0.5B", 4, 1024, True),
    Case("Qwen2.5-0.5B", 2, 2048, False, 0),
    Case("Qwen2.5-0.5B", 4, 512, False, 2, "adamw-8bit"),
    Case("Qwen2.5-0.5B", 1, 256, True, 1, rank=256),
    Case("Llama-3.2-1B", 1, 2048, True),
    Case("Llama-3.2-1B", 4, 2048, True, 2),
    Case("Llama-3.2-1B", 2, 2048, False),
    Case("Llama-3.2-1B", 2, 2048, False, is_padded=True),
    Case("Llama-3.2-1B", 4, 1024, False, 0, "adamw-8bit"),
    Case("Llama-3.1-8B", 1, 2048, True),
    Case("Llama-3.1-8B", 4, 2048, True, 2, "adamw-8bit"),
    Case("Llama-3.1-8B", 1, 4096, False),
    Case("Llama-3.1-8B", 1, 512, False, 0, rank=64),
    Case("Llama-3.1-8B", 1, 512, True, 1, rank=64),
    Case("Mistral-7B", 2, 4096, True),
    Case("Mistral-7B", 1, 2048, False),
    Case("Mistral-7B", 1, 512, True, 1, "adamw-8bit", quantization="none"),
    Case("Qwen2.5-0.5B", 2, 2048, False, 0, kernels="compiled"),
    Case("Llama-3.1-8B", 4, 2048, True, rank=64, kernels="compiled"),
    Case("Llama-3.1-8B", 4, 2048, False, rank=64, kernels="compiled"),
    Case("Llama-3.1-8B", 4, 2048, True, rank=64, kernels="fused"),
    Case("Llama-3.1-8B", 4, 2048, False, rank=64, kernels="fused"),
]


@dataclass
class Measured:
    """Bytes that torch has allocated."""

    loaded: int = 0
    with_engine: int = 0
    before: int = 0
    after_forward: int = 0
    peak_forward: int = 0
    peak_backward: int = 0
    peak_step: int = 0
    after_step: int = 0
    reserved: int = 0
    outside: int = 0
    """In use on the GPU beyond what torch has reserved."""

    @property
    def peak(self) -> int:
        return max(self.peak_forward, self.peak_backward, self.peak_step)


def job_of(case: Case) -> JobFile:
    spec = {
        "model": {"source": "pvc://models/random"},
        "dataset": {"source": "pvc://data/none.jsonl"},
        "output": {"destination": "pvc://results/none"},
        "quantization": {"type": case.quantization},
        "adapter": {"rank": case.rank},
        "training": {
            "globalBatchSize": 2 * case.micro_batch,
            "microBatchSize": case.micro_batch,
            "sequenceLength": case.length,
            "gradientCheckpointing": case.checkpointing,
            "optimizer": case.optimizer,
            "kernels": case.kernels,
        },
        "deepspeed": {"zeroStage": case.stage},
    }
    return JobFile(
        name="job", namespace="default", uid="uid", attempt=1, slots=1, termination_grace_period_seconds=30,
        hosts=["localhost"], spec=QLoRAJobSpec.model_validate(spec),
    )  # fmt: skip


@cache
def shapes_of(shape: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes that the model's files would have."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(shape))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def batch_of(case: Case, device: Any) -> Any:
    shape = (case.micro_batch, case.length)
    ids = torch.randint(0, 30_000, shape, device=device)
    labels, mask = ids.roll(-1, 1), None
    if case.is_padded:
        mask = torch.ones(shape, dtype=torch.int64, device=device)
        mask[-1, case.length * 3 // 4 :] = 0
    labels[:, -1] = IGNORED
    return MicroBatch(ids, labels, mask, None)


def measure(case: Case, device: Any) -> Measured:
    cuda, found = torch.cuda, Measured()
    base = random_base(case.shape, device, case.quantization)
    gc.collect()
    cuda.empty_cache()
    found.loaded = cuda.memory_allocated()
    job = job_of(case)
    with loading(base):
        model = model_module.load_model("random", job.spec, device)
    loss_sum = choose(model, job.spec, device, False, all_agree(device)).loss_sum
    engine = make_engine(model, job)
    gc.collect()
    cuda.empty_cache()
    found.with_engine = cuda.memory_allocated()
    batch = batch_of(case, device)
    try:
        for step in range(3):
            for _ in range(2):
                before = cuda.memory_allocated()
                cuda.reset_peak_memory_stats()
                loss = loss_sum(engine, batch)
                after, forward = cuda.memory_allocated(), cuda.max_memory_allocated()
                cuda.reset_peak_memory_stats()
                engine.backward(loss / batch.labels.numel(), scale_wrt_gas=False)
                backward = cuda.max_memory_allocated()
                cuda.reset_peak_memory_stats()
                engine.step()
                if step:
                    found.before = max(found.before, before)
                    found.after_forward = max(found.after_forward, after)
                    found.peak_forward = max(found.peak_forward, forward)
                    found.peak_backward = max(found.peak_backward, backward)
                    found.peak_step = max(found.peak_step, cuda.max_memory_allocated())
            del loss
        cuda.synchronize()
        found.after_step = cuda.memory_allocated()
        found.reserved = cuda.memory_reserved()
        free, total = cuda.mem_get_info()
        found.outside = total - free - found.reserved
    finally:
        engine.destroy()
    return found


def row(case: Case, found: Measured) -> dict[str, Any]:
    """Predicted beside measured, in MiB."""
    shapes, config = shapes_of(case.shape), config_of(case.shape).to_dict()
    predicted = estimate(job_of(case).spec, shapes, config, is_masked=case.is_padded)
    return {
        "case": case.columns,
        "predicted": round(predicted.allocated / MIB),
        "measured": round(found.peak / MIB),
        "ratio": round(predicted.allocated / found.peak, 3),
        "predicted_on_device": round(predicted.on_device / MIB),
        "measured_on_device": round((found.reserved + found.outside) / MIB),
        "phase": predicted.peak.name,
        "phases": {
            phase.name: {"total": round(phase.total / MIB), **{k: round(v / MIB, 1) for k, v in phase.parts.items()}}
            for phase in predicted.phases
        },
        "seen": {name: round(value / MIB, 1) for name, value in vars(found).items()},
    }


def line(columns: list[str]) -> str:
    """Of a table in Markdown."""
    return f"| {' | '.join(columns)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--seconds", type=float, default=270, help="begin no further line after so long")
    parser.add_argument("--only", default="", help="lines that have this in their model or text, such as compiled")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    begin = time.monotonic()
    given = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    for name, value in given.items():
        os.environ.setdefault(name, value)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    deepspeed.init_distributed(dist_backend="nccl", verbose=False)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print(line(HEADER), line(["---"] * len(HEADER)), sep="\n", flush=True)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    for case in (case for case in CASES if options.only in case.name):
        if time.monotonic() - begin > options.seconds:
            failed.append(f"{' '.join(case.columns)}: no time was left")
            continue
        try:
            last = row(case, measure(case, device))
        except Exception as error:  # the other lines are measured all the same
            traceback.print_exc(limit=8)
            failed.append(f"{' '.join(case.columns)}: {type(error).__name__}: {error}"[:500])
        else:
            rows.append(last)
            figures = [str(last["predicted"]), str(last["measured"]), f"{last['ratio']:.3f}"]
            print(line([*case.columns, *figures]), flush=True)
        if options.json:
            options.json.write_text(json.dumps({"measured": rows, "failed": failed}, indent=1))
        gc.collect()
        torch.cuda.empty_cache()
    print(f"\n{len(rows)} lines in {time.monotonic() - begin:.0f} s", *failed, sep="\nnot measured: ", flush=True)
    os._exit(bool(failed))  # a process group's end can take minutes


if __name__ == "__main__":
    main()
