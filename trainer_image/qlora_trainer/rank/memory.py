"""How much memory of its GPU this rank has used."""

from __future__ import annotations

import sys


def peak_gpu_bytes() -> int | None:
    """The most that this rank has allocated on its GPU, or None without one."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else None
