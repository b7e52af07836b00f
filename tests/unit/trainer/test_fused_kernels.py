"""Triton's kernels in its interpreter; on a GPU benchmarks/gpu_check.sh tries them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TRITON = Path(sys.prefix) / "triton"
"""Where dev/venv.sh installs it, apart from the libraries for CPUs."""


def test_the_kernels_compute_what_torch_does() -> None:
    """In a process of its own: Triton has to know before it is imported."""
    path = os.pathsep.join([*sys.path, str(TRITON)])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fused_operations"],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
