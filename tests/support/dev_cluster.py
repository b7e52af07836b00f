"""The cluster of `make cluster-up`, and the demo's job on it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from support.jobs import JobDriver
from support.kubectl import ADMIN, ROOT, Cluster

OPERATOR_USER = "system:serviceaccount:qlora-system:qlora-operator"
VOLUMES = ROOT / ".cluster" / "volumes"
RESULTS = VOLUMES / "results"
EXAMPLE = ROOT / "examples" / "smollm2-chat.yaml"


class DevCluster(Cluster):
    """Two real nodes on this machine."""

    def __init__(self) -> None:
        self.audit_log = ROOT / ".cluster" / "state" / "log" / "audit.log"

    def kubeconfig(self, user: str = ADMIN) -> Path:
        return ROOT / ".cluster" / "kubeconfig"


class Team(JobDriver):
    """Somebody who works in the demo's namespace."""

    def write_file(self, claim: str, name: str, text: str) -> None:
        """Puts a file onto a volume, through the loader pod."""
        self.kubectl("exec", "-i", "loader", "--", "sh", "-c", f"cat > /volumes/{claim}/{name}", input=text)


def example_job(name: str | None = None, **spec: Any) -> dict[str, Any]:
    """The demo's job; keyword arguments replace parts of its spec."""
    body: dict[str, Any] = copy.deepcopy(yaml.safe_load(EXAMPLE.read_text()))
    if name is not None:
        body["metadata"]["name"] = name
    body["spec"] |= spec
    return body
