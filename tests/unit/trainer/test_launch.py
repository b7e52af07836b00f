"""How `deepspeed` is called."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from qlora_trainer.paths import PodPaths
from qlora_trainer.supervisor.launch import command, environment, usable_cpus
from unit.trainer.pods import Gang


def test_the_launcher_is_told_everything_that_it_would_guess(tmp_path: Path) -> None:
    """Without --master_addr it calls ssh, even with --no_ssh."""
    pod = Gang(tmp_path).new_pods(nodes=2)[1]
    arguments = command(pod.job, 1, PodPaths(pod.root))
    assert Path(arguments[0]).name == "deepspeed"
    for argument in ("--no_ssh", "--node_rank=1", "--master_addr=127.0.0.1", f"--hostfile={pod.root}/job/hostfile"):
        assert argument in arguments
    assert arguments[-2:] == ["--module", "qlora_trainer.rank"]


def test_deepspeed_understands_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepspeed.launcher import runner

    pod = Gang(tmp_path).new_pods(nodes=2, slots=2)[1]
    started: list[list[str]] = []

    class Launched:
        returncode = 0

        def __init__(self, cmd: list[str], **_: Any) -> None:
            started.append(cmd)

        def wait(self) -> None:
            pass

    monkeypatch.setattr(runner.subprocess, "Popen", Launched)
    runner.main(command(pod.job, 1, PodPaths(pod.root))[1:])
    options = dict(part.partition("=")[::2] for part in started[0] if part.startswith("--"))
    assert json.loads(base64.urlsafe_b64decode(options["--world_info"])) == {"127.0.0.1": [0, 1], "127.0.0.2": [0, 1]}
    assert (options["--node_rank"], options["--master_port"]) == ("1", str(pod.job.master_port))
    assert started[0][-1] == "qlora_trainer.rank"


def test_the_ranks_work_offline_on_the_jobs_device(tmp_path: Path) -> None:
    pod = Gang(tmp_path).new_pods(slots=2)[0]
    made = environment(pod.job, PodPaths(pod.root), {"OMP_WAIT_POLICY": "ACTIVE", "DS_ACCELERATOR": "cuda"}, cpus=5)
    assert (made["HF_HUB_OFFLINE"], made["OMP_NUM_THREADS"], made["DS_ACCELERATOR"]) == ("1", "2", "cpu")
    assert made["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    ("requested", "cpus"), [(None, 16), ("4", 4), ("500m", 1), ("2500m", 2), ("64", 16), ("1.5", 1)]
)
def test_threads_follow_the_cpu_request(requested: str | None, cpus: int) -> None:
    assert usable_cpus(requested, available=16) == cpus


def test_the_supervisor_stays_small() -> None:
    import subprocess
    import sys

    code = (
        "import sys, qlora_trainer.supervisor.main;"
        "assert not {'torch', 'transformers', 'deepspeed', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
