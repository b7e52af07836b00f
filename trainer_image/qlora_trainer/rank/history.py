"""`attempts.jsonl` in the output folder: a line each time that the ranks begin to train."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qlora_api.job_file import JobFile

FILE = "attempts.jsonl"


def append_start(output: Path, job: JobFile, from_step: int) -> None:
    """Adds a line. Only rank 0 calls it, after it has claimed the folder."""
    line = {
        "attempt": job.attempt,
        "startTime": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "fromStep": from_step,
        "nodes": len(job.hosts),
        "worldSize": job.world_size,
    }
    with (output / FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")


def read_starts(output: Path) -> list[dict[str, Any]]:
    """The lines of this job, the oldest first; the claim has moved another job's file away."""
    try:
        lines = (output / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]
