"""What happens to the machines of the local cluster and to the processes on them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.kubectl import ROOT

STATE = ROOT / ".cluster" / "state"
SCRIPTS = ROOT / "dev" / "cluster"
RANK = " -u -m qlora_trainer.rank"
LAUNCHER = " -u -m deepspeed.launcher.launch"


@dataclass(frozen=True)
class Node:
    """One of `node-1`, `node-2`: a network namespace with a kubelet and a containerd of its own."""

    name: str

    def process(self, pod_uid: str, words: str) -> int:
        """The oldest process of a pod with these words in its command line: of ranks, one that trains."""
        found = [pid for pid in _pod_processes(self.name, pod_uid) if words in _command_line(pid)]
        assert found, f"no process with '{words}' of pod {pod_uid} on {self.name}"
        return min(found, key=_began)

    def crash_daemons(self) -> None:
        """Kills kubelet and containerd; the containers live on, and nobody looks after them."""
        for daemon in ("kubelet", "containerd"):
            os.kill(int((STATE / self.name / f"{daemon}.pid").read_text()), signal.SIGKILL)

    def boot(self) -> None:
        """Starts what has died."""
        number = self.name.removeprefix("node-")
        subprocess.run([SCRIPTS / "node.sh", number], check=True, capture_output=True, timeout=180)

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Its cable is pulled meanwhile."""
        self._set_cable("down")
        try:
            yield
        finally:
            self._set_cable("up")

    def _set_cable(self, state: str) -> None:
        subprocess.run(["ip", "link", "set", f"v{self.name}", state], check=True)


def _pod_processes(node: str, pod_uid: str) -> set[int]:
    """The kubelet names a pod's cgroup after its UID, with dashes or, under systemd, underscores."""
    spellings = (pod_uid, pod_uid.replace("-", "_"))
    roots = [Path("/sys/fs/cgroup", node), *Path("/sys/fs/cgroup").glob(f"*/{node}")]
    found: set[int] = set()
    for root in roots:
        for folder, _, files in os.walk(root):
            if "cgroup.procs" in files and any(spelling in folder for spelling in spellings):
                found |= {int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()}
    return found


def _began(pid: int) -> int:
    """Start time of a process in clock ticks since the boot: field 22 of proc(5) `stat`."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
