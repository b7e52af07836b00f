"""How often the kernel has killed a process of this container for want of memory."""

from __future__ import annotations

from pathlib import Path

_COUNTERS = ("memory.events", "memory/memory.oom_control")
"""cgroup v2, and v1."""


def oom_kills(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The counter `oom_kill`, or None if the container does not see its own cgroup."""
    for name in _COUNTERS:
        try:
            lines = (cgroup / name).read_text().splitlines()
        except OSError:
            continue
        counters = dict(line.split(maxsplit=1) for line in lines if " " in line)
        if "oom_kill" in counters:
            return int(counters["oom_kill"])
    return None
