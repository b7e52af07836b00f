"""How much memory the GPU of this rank has, and how much of it this rank has used."""

from __future__ import annotations

import sys
from typing import Any


def peak_gpu_bytes() -> int | None:
    """The most that this rank has allocated on its GPU, or None without one."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else None


def gpu_bytes(device: Any) -> int | None:
    """Memory of a GPU in all; None for another device."""
    if device.type != "cuda":
        return None
    return int(sys.modules["torch"].cuda.get_device_properties(device).total_memory)
