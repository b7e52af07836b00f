"""One rank of the benchmark: `worker.py CASES` trains each case a few steps with the trainer's own loop.

The first rank prints a line of JSON for each case.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
import traceback
from typing import Any

import deepspeed
import numpy as np
import torch
from benchmarks.random_model import config_of, loading, random_base
from deepspeed import comm

from qlora_api.job_file import JobFile
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.fused.choice import all_agree, choose
from qlora_trainer.rank import model as model_module
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.engine import make_engine
from qlora_trainer.rank.loop import train
from qlora_trainer.rank.make_data import arrange
from qlora_trainer.rank.order import Mix
from qlora_trainer.rank.stop import StopSignal
from qlora_trainer.rank.store import Figures

WARM_UP = 2
"""Micro-steps at least, in whole steps, before what is measured."""
FIRST_WARM_UP = 8
"""The same for a rank's first case, in which NCCL makes its connections and the allocator its first segments."""
DOCUMENT_TOKENS = 273
"""Mean length of the documents: that of instruction data."""

FULL = 4
"""Sequences of a micro-step that are full without packing."""
SEQUENCES = 512
"""The same for every number of GPUs, and enough that nearly all of them are full."""


class Stopwatch:
    """Stands for progress and checkpoints: notes the seconds and tokens of each step, and saves nothing."""

    is_due = False

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self.progress = self
        self.loss = None

    def step(self, step: int, loss: float, rate: float, norm: float, tokens: int, seconds: float) -> None:
        self.seconds.append(seconds)
        self.tokens.append(tokens)

    def save(self, engine: Any, step: int, loss: float) -> None: ...

    def wait(self) -> None: ...


def job_of(case: dict[str, Any], world_size: int) -> JobFile:
    is_packed = case["batch"] == "packed"
    sequences = 1 if is_packed else FULL
    spec = {
        "model": {"source": "pvc://models/random"},
        "dataset": {"source": "pvc://data/none.jsonl"},
        "output": {"destination": "pvc://results/none"},
        "adapter": {"rank": case["rank"], "targets": case["targets"]},
        "quantization": {"computeDtype": "bfloat16"},
        "node": {"accelerator": case["accelerator"]},
        "training": {
            "globalBatchSize": world_size * case["accumulation"] * sequences,
            "microBatchSize": sequences,
            "sequenceLength": case["sequence_length"] // sequences,
            "packing": is_packed,
            "kernels": case["kernels"],
            "gradientCheckpointing": case["checkpointing"],
        },
        "deepspeed": {
            "zeroStage": case["stage"],
            "communicationDtype": case["communication_dtype"],
            "config": {"zero_optimization": {"overlap_comm": case["overlaps"]}} if case["stage"] else {},
        },
    }
    hosts = [f"host-{number}" for number in range(world_size)]
    return JobFile(
        name="job", namespace="default", uid="uid", attempt=1, slots=1, termination_grace_period_seconds=30,
        hosts=hosts, spec=QLoRAJobSpec.model_validate(spec),
    )  # fmt: skip


def dataset_of(job: JobFile, sequences: int, vocabulary: int) -> Dataset:
    """Random tokens in documents of log-normal lengths, packed; or each as long as a sequence."""
    training = job.spec.training
    random = np.random.Generator(np.random.PCG64(1))
    number = sequences * training.sequence_length // DOCUMENT_TOKENS + 1 if training.packing else sequences
    lengths = np.clip(random.lognormal(np.log(DOCUMENT_TOKENS) - 0.5, 1.0, number), 8, 2048).astype(np.int64)
    lengths = np.minimum(lengths, training.sequence_length)
    if not training.packing:
        lengths = np.full(number, training.sequence_length)
    tensors, sizes = arrange(Figures(lengths=lengths, targets=lengths - 1), [number], training)
    ids = torch.from_numpy(random.integers(0, vocabulary, int(lengths.sum()), dtype=np.int32))
    index = {name: torch.from_numpy(array) for name, array in tensors.items()}
    mix = Mix(tuple(sizes), (1.0,))
    return Dataset(ids, torch.ones(len(ids), dtype=torch.bool), **index, mix=mix, is_packed=training.packing, sha256="")


def measure(case: dict[str, Any], device: torch.device, micro_steps: int) -> dict[str, Any]:
    world_size = comm.get_world_size()
    job = job_of(case, world_size)
    begin = time.monotonic()
    with loading(random_base(case["shape"], device)):
        model = model_module.load_model("random", job.spec, device)
    chosen = choose(model, job.spec, device, job.spec.training.packing, all_agree(device))
    engine = make_engine(model, job)
    loaded = time.monotonic() - begin
    warm_up = math.ceil(micro_steps / case["accumulation"])
    steps = warm_up + case["steps"]
    dataset = dataset_of(job, SEQUENCES, config_of(case["shape"]).vocab_size)
    watch = Stopwatch()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train(engine, dataset, job, 0, steps, watch, watch, StopSignal(), loss_of=chosen.loss_sum)
    engine.destroy()
    seconds, tokens = sum(watch.seconds[warm_up:]), sum(watch.tokens[warm_up:])
    return {
        **case,
        "world_size": world_size,
        "tokens_per_second": round(tokens / seconds, 1),
        "step_seconds": round(seconds / case["steps"], 4),
        "load_seconds": round(loaded, 1),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "took": chosen.kernels,
        "peak_mebibytes": round(torch.cuda.max_memory_allocated() / 2**20) if device.type == "cuda" else 0,
    }


def main() -> None:
    device = torch.device(os.environ["DS_ACCELERATOR"], int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", verbose=False)
    cases = json.loads(sys.argv[1])
    for number, case in enumerate(cases):
        try:
            result = measure(case, device, WARM_UP if number else FIRST_WARM_UP)
        except Exception as error:
            traceback.print_exc()
            result = {**case, "error": f"{type(error).__name__}: {error}"[:300]}
        if comm.get_rank() == 0:
            print("RESULT " + json.dumps(result), flush=True)
        if "error" in result and len({case["kernels"] for case in cases}) == 1:
            break
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    sys.stdout.flush()
    os._exit(0)  # a process group's end can take minutes


main()
