"""One JSON object a line on standard output, with the seconds since the process began."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _process_start() -> float:
    """Unix time at which the kernel started this process, so that imports are counted too."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - up + ticks / 100


_START = _process_start()


def event(name: str, **fields: Any) -> None:
    """Prints one event."""
    record = {"event": name, "elapsed_seconds": round(time.time() - _START, 2), **fields}
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def phase(name: str, **fields: Any) -> Iterator[None]:
    """Prints how long the block took, if it ends without an error."""
    begin = time.monotonic()
    yield
    event("phase", phase=name, seconds=round(time.monotonic() - begin, 2), **fields)
