"""What this machine has, and whether a job fits it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check.refused import Refused


def check_libraries() -> None:
    """Whether all libraries are there: this command's own, and the trainer's.

    Raises:
        Refused: they are not.
    """
    missing = [name for name in ("cel", "torch", "deepspeed", "peft") if find_spec(name) is None]
    if missing:
        raise Refused([f"{missing[0]} is not installed; run pip install 'qlora-operator[local,trainer]'"])


def devices(spec: QLoRAJobSpec) -> list[list[str]]:
    """The GPUs of each pod, as CUDA_VISIBLE_DEVICES names them; none on the CPU.

    Raises:
        Refused: the job has more slots than this machine has GPUs.
    """
    if spec.node.accelerator == "cpu":
        return [[] for _ in range(spec.nodes)]
    there = _visible_gpus()
    slots = spec.node.slots
    if spec.nodes * slots > len(there):
        raise Refused(
            [
                f"spec.nodes x spec.node.slots is {spec.nodes * slots}, and this machine has {len(there)} GPUs; write "
                + ("node.accelerator: cpu" if not there else f"at most {len(there)} slots in all")
            ]
        )
    return [there[node * slots : (node + 1) * slots] for node in range(spec.nodes)]


def threads(spec: QLoRAJobSpec) -> int | None:
    """Threads of a rank: all ranks share this machine's cores. None if the job says how many cores a pod has."""
    if spec.node.resources.cpu is not None:
        return None
    return max(1, len(os.sched_getaffinity(0)) // (spec.nodes * spec.node.slots))


def _visible_gpus() -> list[str]:
    """Asked of torch in a process of its own, which takes seconds and memory."""
    count = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        check=True,
        capture_output=True,
        text=True,
    )
    number = int(count.stdout)
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:number] if named else [str(device) for device in range(number)]
