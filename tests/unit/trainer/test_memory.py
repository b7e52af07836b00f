"""Memory of real processes."""

from __future__ import annotations

import subprocess
import sys

from qlora_trainer.supervisor.memory import ranks_resident_bytes, resident_bytes
from qlora_trainer.supervisor.processes import Process

HOLD = "import sys; held = bytearray(80_000_000); print(flush=True); sys.stdin.read()"


def test_resident_memory_is_what_the_processes_hold() -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    process = Process(child.pid, session=0, rank=0)
    assert 80_000_000 < resident_bytes([process]) < 160_000_000
    assert resident_bytes([process, process]) == 2 * resident_bytes([process])
    child.communicate()
    assert resident_bytes([process]) == 0, "it has ended"


def test_without_ranks_there_is_no_figure() -> None:
    assert ranks_resident_bytes() is None
