"""Pods without Kubernetes: each has a root of its own, all share the volumes and this machine's loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from qlora_api.job_file import JobFile
from qlora_api.report import Termination

PROGRAM = [sys.executable, "-m", "qlora_trainer"]
ROWS = [
    {"messages": [{"role": "user", "content": f"Say {word}"}, {"role": "assistant", "content": word * (1 + i % 3)}]}
    for i, word in enumerate(["amber", "birch", "cobalt", "dune", "echo", "fjord", "grove", "heath", "iris"])
]


def spec(**changes: Any) -> dict[str, Any]:
    """A small job in float32 on the CPU; a keyword argument updates that part of the spec."""
    base: dict[str, Any] = {
        "model": {"source": "pvc://models/tiny"},
        "dataset": {"source": "pvc://data/train.jsonl"},
        "output": {"destination": "pvc://results/out"},
        "quantization": {"computeDtype": "float32"},
        "adapter": {"rank": 4},
        "training": {"maxSteps": 6, "globalBatchSize": 4, "sequenceLength": 64, "learningRate": 0.01},
        "node": {"accelerator": "cpu", "resources": {"cpu": 1}},
        "checkpoint": {"every": "1h"},
    }
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(base.get(key), dict) else value
    return base


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Pod:
    """One pod's root and processes."""

    def __init__(self, root: Path, index: int, job: JobFile, volumes: Path) -> None:
        self.root, self.index, self.job = root, index, job
        for folder in ("job", "work", "dev"):
            (root / folder).mkdir(parents=True)
        (root / "volumes").symlink_to(volumes)
        (root / "job/job.json").write_text(json.dumps(job.to_json()))
        (root / "job/hostfile").write_text(job.hostfile())

    @property
    def host(self) -> str:
        return self.job.hosts[self.index]

    def fetch(self) -> int:
        return subprocess.run([*PROGRAM, "fetch", "--root", str(self.root)], check=False, timeout=300).returncode

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "JOB_COMPLETION_INDEX": str(self.index), **variables}
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "run", "--root", str(self.root), "--bind", self.host, *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.process

    def wait(self, timeout: float = 300) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.log()[-4000:]}") from None

    def log(self) -> str:
        return (self.root / "log").read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith('{"event"')]
        return [line for line in lines if line["event"] == name]

    def termination(self) -> Termination:
        return Termination.model_validate_json((self.root / "dev/termination-log").read_bytes())

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.host}:{self.job.status_port}{path}", timeout=5) as answer:
            body: bytes = answer.read()
        return body

    def wait_for_step(self, step: int, timeout: float = 300) -> None:
        deadline = time.monotonic() + timeout
        progress = self.root / "work/progress.json"
        while time.monotonic() < deadline:
            if progress.exists() and json.loads(progress.read_text())["step"] >= step:
                return
            assert self.process.poll() is None, self.log()[-4000:]
            time.sleep(0.05)
        raise AssertionError(f"step {step} was not reached:\n{self.log()[-4000:]}")

    def pids(self, *words: str) -> list[int]:
        """Processes of this pod whose command line has all the words."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            is_mine = f"QLORA_POD_ROOT={self.root}".encode() in environment
            if is_mine and arguments[1:4] == [word.encode() for word in words]:
                found.append(int(entry.name))
        return sorted(found)

    def ranks(self) -> list[int]:
        return self.pids("-u", "-m", "qlora_trainer.rank")

    def launchers(self) -> list[int]:
        return self.pids("-u", "-m", "deepspeed.launcher.launch")

    def kill_all(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for pid in [*self.ranks(), *self.launchers()]:
            os.kill(pid, signal.SIGKILL)


class Gang:
    """The volumes of a namespace, and the pods of one job after another."""

    def __init__(self, folder: Path, model: Path | None = None) -> None:
        self.folder = folder
        self.volumes = folder / "volumes"
        for name in ("models", "data", "results"):
            (self.volumes / name).mkdir(parents=True)
        if model is not None:
            (self.volumes / "models/tiny").symlink_to(model)
        self.write_rows(ROWS)
        self.pods: list[Pod] = []

    @property
    def output(self) -> Path:
        return self.volumes / "results/out"

    def write_rows(self, rows: list[Any]) -> None:
        (self.volumes / "data/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def new_pods(
        self,
        nodes: int = 1,
        slots: int = 1,
        uid: str = "uid",
        attempt: int = 1,
        grace: int = 30,
        restarts: int = 0,
        **changes: Any,
    ) -> list[Pod]:
        hosts = [f"127.0.0.{number + 1}" for number in range(nodes)]
        master_port, status_port = free_port(), free_port()
        changes["nodes"] = nodes
        changes["node"] = {**changes.get("node", {}), "slots": slots}
        pods = []
        for index in range(nodes):
            job = JobFile(
                name="job",
                namespace="default",
                uid=uid,
                attempt=attempt,
                hosts=hosts,
                slots=slots,
                master_port=master_port,
                status_port=status_port,
                max_restarts_in_place=restarts,
                termination_grace_period_seconds=grace,
                spec=spec(**changes),
            )
            pods.append(Pod(self.folder / f"pod-{len(self.pods)}", index, job, self.volumes))
            self.pods.append(pods[-1])
        return pods

    def train(self, **arguments: Any) -> list[Pod]:
        """Runs a job to its end."""
        pods = self.new_pods(**arguments)
        for pod in pods:
            assert pod.fetch() == 0
            pod.start()
        assert [pod.wait() for pod in pods] == [0] * len(pods), pods[0].log()[-4000:]
        return pods

    def losses(self) -> dict[int, float]:
        """Loss of each step, the newest line of a step if there are several."""
        lines = map(json.loads, (self.output / "log.jsonl").read_text().splitlines())
        return {line["step"]: line["loss"] for line in lines}
