"""Triton's kernels in its interpreter, if it is installed and no GPU is there: benchmarks/gpu_check.sh has one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton compiles here")
def test_the_kernels_compute_what_torch_does() -> None:
    """In a process of its own: Triton has to know before it is imported."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fused_operations"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
