"""One training, as a job of this project and as TRL is asked for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.rank.batches import global_batch
from qlora_trainer.rank.model import load_model
from qlora_trainer.rank.order import Mix
from unit.trainer.pods import Gang

PEER = Path(__file__).with_name("peer.py")
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Recipe:
    """What both are told."""

    model: Path
    rows: list[dict[str, Any]]
    """Chats: {"messages": [...]}."""
    chat_template: str
    """Marks with `generation` what the assistant says."""
    steps: int
    quantization: str = "none"
    dtype: str = "float32"
    device: str = "cpu"
    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    global_batch_size: int = 4
    micro_batch_size: int = 2
    sequence_length: int = 128
    seed: int = 42

    @property
    def spec(self) -> dict[str, Any]:
        """The parts of a job's spec that say the same."""
        return {
            "dataset": {"chatTemplate": self.chat_template},
            "quantization": {"type": self.quantization, "computeDtype": self.dtype},
            "adapter": {"rank": self.rank, "alpha": self.alpha, "targets": ",".join(TARGETS)},
            "training": {
                "maxSteps": self.steps,
                "epochs": 1000,
                "globalBatchSize": self.global_batch_size,
                "microBatchSize": self.micro_batch_size,
                "sequenceLength": self.sequence_length,
                "learningRate": self.learning_rate,
                "schedule": "constant",
                "warmupRatio": 0,
                "gradientCheckpointing": False,
                "seed": self.seed,
            },
            "node": {"accelerator": "cpu" if self.device == "cpu" else "nvidia.com/gpu"},
        }


@dataclass(frozen=True)
class Run:
    """What came out."""

    losses: list[float]
    adapter: dict[str, torch.Tensor]


def train_here(recipe: Recipe, folder: Path, nodes: int = 1) -> Run:
    """A job's pods as processes."""
    gang = Gang(folder, recipe.model)
    gang.write_rows(recipe.rows)
    pods = gang.new_pods(nodes=nodes, **recipe.spec)
    for pod in pods:
        assert pod.fetch() == 0, pod.log()[-3000:]
        pod.start()
    assert [pod.wait(timeout=3600) for pod in pods] == [0] * nodes, pods[0].log()[-3000:]
    losses = gang.losses()
    return Run(
        [losses[step + 1] for step in range(recipe.steps)],
        load_file(gang.output / "adapter" / "adapter_model.safetensors"),
    )


def train_in_trl(recipe: Recipe, folder: Path, own_first_values: bool = False) -> Run:
    """TRL's SFTTrainer in a process of its own, which knows nothing of this project.

    Args:
        recipe: what to train.
        folder: where its files go.
        own_first_values: whether TRL begins with an adapter of its own instead of the one that a job begins with.
    """
    folder.mkdir(parents=True)
    gang = Gang(folder / "job", recipe.model)
    spec = gang.new_pods(**recipe.spec)[0].job.spec
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(recipe.rows[number]) + "\n" for number in order(recipe, spec)))
    adapter = folder / "first"
    if not own_first_values:
        load_model(str(recipe.model), spec, torch.device(recipe.device)).save_pretrained(adapter)
    job = {
        "model": str(recipe.model), "rows": str(rows), "cache": str(folder / "cache"), "output": str(folder / "output"),
        "adapter": None if own_first_values else str(adapter), "seed": recipe.seed,
        "lora": {"r": recipe.rank, "lora_alpha": recipe.alpha, "target_modules": TARGETS},
        "chatTemplate": recipe.chat_template, "quantization": recipe.quantization, "dtype": recipe.dtype,
        "device": recipe.device, "steps": recipe.steps, "sequenceLength": recipe.sequence_length,
        "microBatchSize": recipe.micro_batch_size, "accumulation": recipe.global_batch_size // recipe.micro_batch_size,
        "learningRate": recipe.learning_rate,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            [sys.executable, str(PEER), str(folder / "job.json")],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise RuntimeError(f"TRL failed: {(folder / 'log').read_text()[-3000:]}")
    output = Path(job["output"])
    return Run(json.loads((output / "losses.json").read_text()), load_file(output / "adapter_model.safetensors"))


def order(recipe: Recipe, spec: QLoRAJobSpec) -> list[int]:
    """The rows of all steps, as a job reads them."""
    mix = Mix((len(recipe.rows),), (1.0,))
    return [row for step in range(recipe.steps) for row in global_batch(step, mix, spec.training)]


def largest_difference(here: Run, there: Run) -> float:
    """Of any number of the two adapters, as a share of the largest number."""
    assert here.adapter.keys() == there.adapter.keys()
    scale = max(float(tensor.abs().max()) for tensor in there.adapter.values())
    return max(float((here.adapter[name] - there.adapter[name]).abs().max()) for name in here.adapter) / scale
