"""One JSON object a line on standard output: what happened, when, and in which pod of which attempt of which job.

`elapsed_seconds` counts from the start of the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from qlora_trainer.paths import PodPaths


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
    about = _about(PodPaths.from_environment().job_file)
    now = time.time()
    timestamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    record = {"event": name, "timestamp": timestamp, **about, "elapsed_seconds": round(now - _START, 2), **fields}
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@lru_cache(maxsize=1)
def _about(job_file: Path) -> dict[str, str | int]:
    """The job of this pod, read here so that no line is without it; a file that cannot be read is told elsewhere."""
    index = os.environ.get("JOB_COMPLETION_INDEX", "")
    place = {"completion_index": int(index)} if index.isdecimal() else {}
    try:
        job = json.loads(job_file.read_bytes())
        return {"namespace": str(job["namespace"]), "job": str(job["name"]), "attempt": int(job["attempt"]), **place}
    except (OSError, ValueError, KeyError, TypeError):
        return {**place}


@contextmanager
def phase(name: str, **fields: Any) -> Iterator[None]:
    """Prints how long the block took, if it ends without an error."""
    begin = time.monotonic()
    yield
    event("phase", phase=name, seconds=round(time.monotonic() - begin, 2), **fields)
