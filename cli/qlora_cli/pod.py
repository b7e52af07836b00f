"""One pod as processes: the same `fetch` and the same supervisor, below a root of its own, on an address of its own."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qlora_api import names
from qlora_api.job_file import JobFile
from qlora_api.report import PROGRESS_LIMIT, TERMINATION_LIMIT, Progress, Termination
from qlora_trainer.paths import ROOT_VARIABLE, PodPaths

PROGRAM = (sys.executable, "-m", "qlora_trainer")
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
SECRETS_OF_SOURCES = frozenset(
    {names.TOKEN_VARIABLE, names.ACCESS_KEY_VARIABLE, names.SECRET_KEY_VARIABLE, names.SESSION_TOKEN_VARIABLE}
)
_LIBC = ctypes.CDLL(None, use_errno=True)
_SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h


class Pod:
    """One pod.

    Args:
        root: where its /job, /work, /volumes and /dev are; does not exist yet.
        completion_index: its place in the hostfile.
        job: what to do.
        volumes: folder of the claims.
        variables: added to this command's environment.
        lock: a file descriptor that the supervisor keeps open while it lives.
    """

    def __init__(
        self, root: Path, completion_index: int, job: JobFile, volumes: Path, variables: Mapping[str, str], lock: int
    ) -> None:
        self.paths = PodPaths(root)
        self.completion_index = completion_index
        self._job = job
        self._lock = lock
        self._environment = {
            **os.environ,
            **LOOPBACK,
            **variables,
            "JOB_COMPLETION_INDEX": str(completion_index),
            ROOT_VARIABLE: str(root),
        }
        for folder in (self.paths.job_file.parent, self.paths.work, self.paths.termination_log.parent):
            folder.mkdir(parents=True)
        (root / "volumes").symlink_to(volumes)
        self.paths.job_file.write_text(json.dumps(job.to_json(), indent=2) + "\n")
        self.paths.hostfile.write_text(job.hostfile())

    @property
    def host(self) -> str:
        """The address that stands for the pod's DNS name."""
        return self._job.hosts[self.completion_index]

    @property
    def log(self) -> Path:
        """What its containers print."""
        return self.paths.root / "log"

    def fetch(self) -> subprocess.Popen[bytes]:
        """Starts the init container."""
        return self._start("fetch", environment=self._environment)

    def take_sources(self, other: Pod) -> None:
        """What another pod has fetched lies on this machine as well."""
        self.paths.sources.write_bytes(other.paths.sources.read_bytes())

    def run(self) -> subprocess.Popen[bytes]:
        """Starts the supervisor, which sees none of the secrets of the sources."""
        environment = {name: value for name, value in self._environment.items() if name not in SECRETS_OF_SOURCES}
        return self._start("run", "--bind", self.host, environment=environment)

    def _start(self, *arguments: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program
                [*PROGRAM, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C comes to this command alone
                pass_fds=(self._lock,),
                preexec_fn=_stop_with_parent,
            )

    def progress(self) -> Progress | None:
        """What the supervisor says of the training, or None while it does not answer."""
        address = f"http://{self.host}:{self._job.status_port}/status"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return Progress.from_untrusted(answer.read(PROGRESS_LIMIT + 1), PROGRESS_LIMIT)
        except OSError:
            return None

    def last_progress(self) -> Progress | None:
        """What its first rank has written last, also when the pod has ended; None if that was nothing."""
        try:
            return Progress.from_untrusted(self.paths.progress.read_bytes(), PROGRESS_LIMIT)
        except OSError:
            return None

    def termination(self) -> tuple[float, Termination] | None:
        """How the pod ended, and when it wrote that; None if it left no word."""
        file = self.paths.termination_log
        try:
            words = Termination.from_untrusted(file.read_bytes(), TERMINATION_LIMIT)
            return None if words is None else (file.stat().st_mtime, words)
        except OSError:
            return None

    def kill(self) -> None:
        """Ends every process of the pod at once."""
        mark = f"{ROOT_VARIABLE}={self.paths.root}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        os.kill(int(entry.name), signal.SIGKILL)


def _stop_with_parent() -> None:
    """Has the kernel ask the pod to stop when this command dies."""
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
