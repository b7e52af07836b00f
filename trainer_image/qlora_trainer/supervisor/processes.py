"""Finds and signals a launch's processes by /proc: the launcher's own bookkeeping ends with the launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from qlora_trainer.supervisor.launch import RANK_MODULE

_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Process(NamedTuple):
    """One line of a process table."""

    pid: int
    session: int
    rank: int | None
    """The global rank of a process that trains, None of any other."""


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose parent dies, as PID 1 is anyway."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def members(session: int, proc: Path = Path("/proc")) -> list[Process]:
    """All living processes of a session, zombies left out: a launcher, and all that came of it."""
    table = (_read(entry) for entry in proc.iterdir() if entry.name.isdecimal())
    return [process for process in table if process is not None and process.session == session]


def _read(entry: Path) -> Process | None:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
        arguments = (entry / "cmdline").read_bytes().split(b"\0")
        state, session = fields[0], int(fields[3])
        if state in "ZX":
            return None
        is_rank = arguments[1:4] == [b"-u", b"-m", RANK_MODULE.encode()]
        return Process(int(entry.name), session, _rank(entry) if is_rank else None)
    except (OSError, IndexError):
        return None  # it has just ended


def _rank(entry: Path) -> int | None:
    """What the launcher has told the process of its place."""
    variables = (entry / "environ").read_bytes().split(b"\0")
    value = next((variable[5:] for variable in variables if variable.startswith(b"RANK=")), b"")
    return int(value) if value.isdigit() else None


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Signals all of them at once."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def children() -> list[int]:
    """Pids of this process's children: launchers, and what was adopted."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def reap(except_pids: Collection[int] = ()) -> None:
    """Collects adopted children that have ended. Those in `except_pids` are left to their own `Popen`."""
    for pid in children():
        if pid not in except_pids:
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
