"""How much memory the ranks of this pod hold."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from qlora_trainer.supervisor.processes import Process, children, members

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


def ranks_resident_bytes() -> int | None:
    """Resident memory of the ranks that this process's launchers have started, or None while there are none."""
    ranks = [process for launcher in children() for process in members(launcher) if process.rank is not None]
    return resident_bytes(ranks) if ranks else None


def resident_bytes(processes: Iterable[Process], proc: Path = Path("/proc")) -> int:
    """Resident memory of all of them; a page that several share counts for each. One that has just ended has none."""
    return sum(_resident_pages(proc / str(process.pid) / "statm") for process in processes) * _PAGE_SIZE


def _resident_pages(statm: Path) -> int:
    try:
        return int(statm.read_text().split()[1])
    except (OSError, IndexError):
        return 0
