"""How long the operator takes to be settled after a restart beside jobs that run, and what it writes."""

from __future__ import annotations

import time

from benchmarks.operator.stage import Stage
from benchmarks.operator.table import Row
from benchmarks.operator.usage import processor_seconds, resident_mebibytes

AIMS = {200: 5.0, 1000: 10.0}
"""Seconds, by number of jobs."""
STEP = 0.25
BUSY = 0.2
"""Share of one core above which it is not settled yet: what it does without asking anybody counts as well."""
CALM = 8.0
WATCHED = 60.0


def measure(stage: Stage, jobs: int) -> list[Row]:
    """Settled is after the last request and the last busy moment before a long calm."""
    stage.ours.stop()
    time.sleep(1)
    tail = stage.tail()
    began = time.time()
    stage.ours.start()
    last_busy = _last_busy_moment(stage.ours.pid)
    requests = tail.requests(stage.ours.user)
    settled = max([last_busy, *(request.answered for request in requests)]) - began
    writes = sum(request.is_write for request in requests)
    aim = AIMS.get(jobs)
    in_time = None if aim is None else settled <= aim
    what = f"restart with {jobs} jobs"
    memory = resident_mebibytes(stage.ours.pid, peak=True)
    return [
        Row(f"{what}: settled after, s", f"{aim:.0f}" if aim else "", f"{settled:.1f}", holds=in_time),
        Row(f"{what}: writes", "0", str(writes), holds=writes == 0),
        Row(f"{what}: requests", "", str(len(requests))),
        Row(f"{what}: processor time, s", "", f"{processor_seconds(stage.ours.pid):.2f}"),
        Row(f"{what}: peak memory, MiB", "", f"{memory:.0f}"),
    ]


def _last_busy_moment(pid: int) -> float:
    """Watches the process until it has been calm for long; returns the Unix time of its last busy moment."""
    last = began = time.time()
    used = processor_seconds(pid)
    while time.time() - last < CALM and time.time() - began < WATCHED:
        time.sleep(STEP)
        now_used = processor_seconds(pid)
        if now_used - used > BUSY * STEP:
            last = time.time()
        used = now_used
    return last
