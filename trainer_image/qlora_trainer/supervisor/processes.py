"""Finds and signals the pod's processes by /proc: the launcher's own bookkeeping ends with the launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from qlora_trainer.supervisor.launch import RANK_MODULE

_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Process(NamedTuple):
    """One line of a process table."""

    pid: int
    parent: int
    is_rank: bool


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose parent dies, as PID 1 is anyway."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(of: int, proc: Path = Path("/proc")) -> list[Process]:
    """All living processes below one, zombies left out."""
    table = [process for entry in proc.iterdir() if entry.name.isdecimal() and (process := _read(entry))]
    found: list[Process] = []
    parents = {of}
    while parents:
        children = [process for process in table if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


def _read(entry: Path) -> Process | None:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
        arguments = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None  # it has just ended
    state, parent = fields[0], int(fields[1])
    if state in "ZX":
        return None
    is_rank = arguments[1:4] == [b"-u", b"-m", RANK_MODULE.encode()]
    return Process(int(entry.name), parent, is_rank)


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Signals all of them at once."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def reap(except_pid: int) -> None:
    """Collects adopted children that have ended. `except_pid` is left to its own `Popen`."""
    for process in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            for pid in map(int, process.read_text().split()):
                if pid != except_pid:
                    with suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)


def wait_until(condition: Callable[[], bool], timeout: float, poll_seconds: float = 0.05) -> bool:
    """Whether the condition came true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_seconds)
    return True
