"""Starts `deepspeed` in a session of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from qlora_api.job_file import JobFile
from qlora_trainer.paths import EPOCH_VARIABLE, ROOT_VARIABLE, PodPaths

RANK_MODULE = "qlora_trainer.rank"


def command(job: JobFile, completion_index: int, paths: PodPaths) -> list[str]:
    """The launcher's command line. With `--no_ssh` but no `--master_addr` it would still call ssh."""
    return [
        str(Path(sys.executable).with_name("deepspeed")),
        f"--hostfile={paths.hostfile}",
        "--no_ssh",
        f"--node_rank={completion_index}",
        f"--master_addr={job.hosts[0]}",
        f"--master_port={job.master_port}",
        "--no_local_rank",
        "--log_level=warning",
        "--module",
        RANK_MODULE,
    ]


def environment(job: JobFile, paths: PodPaths, inherited: dict[str, str], cpus: int, epoch: int = 0) -> dict[str, str]:
    """The environment of launcher and ranks. What the pod sets itself is kept.

    Args:
        job: the job.
        paths: where things lie.
        inherited: the supervisor's own environment.
        cpus: cores that the ranks of this pod may use.
        epoch: what the ranks wait for before they meet.
    """
    defaults = {
        "OMP_NUM_THREADS": str(max(1, cpus // job.slots)),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin take the cores from the other ranks and the network
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": "/tmp/huggingface",  # noqa: S108 - the pod's own, the root is read-only
        "TRITON_CACHE_DIR": "/tmp/triton",  # noqa: S108
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor",  # noqa: S108
        "TORCH_EXTENSIONS_DIR": "/tmp/torch_extensions",  # noqa: S108
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }
    accelerator = "cpu" if job.spec.node.accelerator == "cpu" else "cuda"
    if accelerator == "cpu" and job.spec.training.kernels != "compiled":
        defaults["TORCHDYNAMO_DISABLE"] = "1"  # importing the compiler takes seconds
    forced = {"DS_ACCELERATOR": accelerator, ROOT_VARIABLE: str(paths.root), EPOCH_VARIABLE: str(epoch)}
    return defaults | inherited | forced


def usable_cpus(requested: str | None, available: int) -> int:
    """Whole cores of the pod's CPU request, at least one, or all that the machine has if it asks for none.

    More threads than the pod has a right to would only wait for each other.
    """
    if requested is None:
        return available
    cores = int(float(requested[:-1]) / 1000) if requested.endswith("m") else int(float(requested))
    return max(1, min(cores, available))


def start(job: JobFile, completion_index: int, paths: PodPaths, epoch: int) -> subprocess.Popen[bytes]:
    """Starts the launcher; its standard output is the pod's. Its ranks import what they need, and then wait."""
    cpus = usable_cpus(job.spec.node.resources.cpu, len(os.sched_getaffinity(0)))
    return subprocess.Popen(  # noqa: S603 - no shell, and every argument is ours or checked
        command(job, completion_index, paths),
        env=environment(job, paths, dict(os.environ), cpus, epoch),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
