"""kubectl against a cluster, as its administrator or as another user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
BINARIES = Path(os.environ.get("KUBERNETES_BINARIES", ROOT / ".cluster" / "bin"))
ADMIN = "admin"


class Cluster:
    """A cluster that tests can talk to."""

    audit_log: Path

    def kubeconfig(self, user: str = ADMIN) -> Path:
        raise NotImplementedError

    def kubectl(self, *arguments: str, input: str | None = None, user: str = ADMIN) -> str:
        return self.run_kubectl(*arguments, input=input, user=user, check=True).stdout

    def run_kubectl(
        self, *arguments: str, input: str | None = None, user: str = ADMIN, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        command = [str(BINARIES / "kubectl"), f"--kubeconfig={self.kubeconfig(user)}", *arguments]
        result = subprocess.run(command, input=input, capture_output=True, text=True, timeout=120, check=False)
        if check and result.returncode:
            raise subprocess.SubprocessError(f"kubectl {' '.join(arguments)}: {result.stderr}")
        return result
