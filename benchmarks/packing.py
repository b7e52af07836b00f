"""What packing does to a dataset: how full the sequences are, and how fast they are trained on.

    PYTHONPATH=crds:trainer_image python benchmarks/packing.py --model FOLDER --seconds 30 FILE.jsonl...

FOLDER holds a model with a chat template, the files chats. Without --seconds only the sequences are measured, which
needs nothing of the model but its tokenizer. The arithmetic is float32 on the CPU; the base is not quantised, since its
unpacking would hide the difference on few tokens.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.rank.batches import global_batch, micro_batches
from qlora_trainer.rank.data import Dataset, load_dataset
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.make_data import make_dataset

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sequence-length", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--micro-batch-size", type=int, default=4, help="of the sequences that are not packed")
    parser.add_argument("--seconds", type=float, default=0, help="train so long each way")
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    for length in options.sequence_length:
        datasets = {}
        for packing in (False, True):
            spec = job(length, 1 if packing else options.micro_batch_size, packing)
            datasets[packing] = (spec, tokenized(options.files, spec, tokenizer))
        print_fill(length, options.micro_batch_size, *(dataset for _, dataset in datasets.values()))
        if options.seconds:
            for spec, dataset in datasets.values():
                print_speed(options.model, spec, dataset, options.seconds)


def job(length: int, micro_batch_size: int, packing: bool) -> QLoRAJobSpec:
    training = {"sequenceLength": length, "microBatchSize": micro_batch_size, "packing": packing}
    return QLoRAJobSpec.model_validate(
        {
            "model": {"source": "pvc://models/x"},
            "dataset": {"source": "pvc://data/x"},
            "output": {"destination": "pvc://results/x"},
            "quantization": {"type": "none"},
            "training": {**training, "gradientCheckpointing": False},
            "node": {"accelerator": "cpu"},
        }
    )


def tokenized(files: list[Path], spec: QLoRAJobSpec, tokenizer: Any) -> Dataset:
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        make_dataset(Path(folder) / "tokens", [files], spec, tokenizer)
        return load_dataset(Path(folder) / "tokens")


def print_fill(length: int, micro_batch_size: int, apart: Dataset, packed: Dataset) -> None:
    lengths = apart.lengths.numpy()
    order = np.random.default_rng(0).permutation(len(lengths) // micro_batch_size * micro_batch_size)
    batches = lengths[order].reshape(-1, micro_batch_size)
    padded = batches.sum() / (batches.max(axis=1) * micro_batch_size).sum()
    full = lengths.sum() / (len(packed) * length)
    print(
        f"sequenceLength {length}: {len(lengths)} rows of {np.median(lengths):.0f} tokens (median), "
        f"95 % below {np.percentile(lengths, 95):.0f}\n"
        f"  not packed: {padded:.1%} of a micro-batch of {micro_batch_size} is no padding\n"
        f"  packed:     {len(packed)} sequences, {full:.2%} full, {len(lengths) / len(packed):.1f} rows each"
    )


def print_speed(model_folder: Path, spec: QLoRAJobSpec, dataset: Dataset, seconds: float) -> None:
    from qlora_trainer.rank.model import load_model

    model = load_model(str(model_folder), spec, CPU)
    tokens, step, begin = 0, 0, 0.0
    while step < 2 or time.perf_counter() - begin < seconds:
        (portion,) = micro_batches(batch(dataset, spec, step), 0, 1, spec.training.micro_batch_size)
        if step == 1:  # the first is not counted
            begin = time.perf_counter()
        loss_sum(model, collate(dataset, portion)).backward()
        tokens += int(dataset.lengths[portion].sum()) if step else 0
        step += 1
    rate = tokens / (time.perf_counter() - begin)
    print(f"  {'packed' if spec.training.packing else 'not packed'}: {rate:.0f} tokens/s, padding not counted")


def batch(dataset: Dataset, spec: QLoRAJobSpec, step: int) -> list[int]:
    one = spec.training.model_copy(update={"global_batch_size": spec.training.micro_batch_size})
    return global_batch(step, dataset.mix, one)


if __name__ == "__main__":
    main()
