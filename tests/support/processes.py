"""Processes that a test run starts and ends: they die with it, however it ends."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Process:
    """A daemon whose output goes to a file."""

    def __init__(self, command: Sequence[object], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._start = command, env
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def again(self) -> Process:
        """The same command, started anew."""
        command, env = self._start
        return Process(command, self.log, env)

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self, patience: float = 20) -> int:
        if self.alive():
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Waits for its end; returns its exit code."""
        return self._process.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(what: str, probe: Callable[[], T], timeout: float = 30, pause: float = 0.1) -> T:
    """Asks `probe` until its answer is true; fails with `what` and the last answer or error.

    What a cluster may answer for a while (no such object, no connection) is waited for; a probe's own mistakes are not.
    """
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            answer = probe()
            if answer:
                return answer
            last = answer
        except (OSError, subprocess.SubprocessError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what} (last: {last!r})")
        time.sleep(pause)
