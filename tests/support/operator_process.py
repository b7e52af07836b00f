"""The operator under test."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from support.control_plane import OPERATOR, ControlPlane
from support.processes import Process, free_port, wait_until


class Operator:
    """The operator as a process; it can be killed and started again."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.kubeconfig = plane.kubeconfig(OPERATOR)
        self.process: Process | None = None

    def start(self, *flags: str) -> Process:
        """Starts it and waits until it answers."""
        self.process = process = self._spawn(*flags)
        wait_until(f"operator: {process.tail()}", self.healthy, timeout=30)
        return process

    def _spawn(self, *flags: str) -> Process:
        command = [
            sys.executable, "-m", "qlora_operator", "--trainer-image=trainer:test", f"--port={self.port}",
            "--progress-interval=0.5", "--resync-interval=20", "--log-format=text", *flags,
        ]  # fmt: skip
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        return Process(command, self._folder / "operator.log", env)

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.alive(), self.process.tail()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def metrics(self) -> dict[str, float]:
        """The samples of `/metrics`, each under its name and labels as in `name{a="b"}`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {_name(sample.name, sample.labels): sample.value for sample in samples}

    @contextmanager
    def away(self) -> Iterator[None]:
        """It does not run meanwhile, and runs again afterwards, whatever happens."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()


def _name(metric: str, labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{metric}{{{inner}}}" if inner else metric
