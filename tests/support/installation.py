"""What a control plane needs before the operator can work on it."""

from __future__ import annotations

import subprocess

import yaml

from builders import volume_bodies
from support.control_plane import OPERATOR, ControlPlane
from support.kubectl import BINARIES, ROOT
from support.processes import wait_until

RELEASE = "qlora-operator"


def install(plane: ControlPlane) -> None:
    """The CRD, and what the chart grants the operator."""
    plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    wait_until("the CRD", lambda: plane.run_kubectl("get", "qlorajobs", "-A").returncode == 0)
    chart = ROOT / "helm" / "qlora-operator"
    command = [str(BINARIES / "helm"), "template", RELEASE, str(chart), "--show-only", "templates/rbac.yaml"]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    plane.kubectl("apply", "-f", "-", input=rendered)
    role, user = f"--clusterrole={RELEASE}", f"--user={OPERATOR}"
    plane.kubectl("create", "clusterrolebinding", "operator-under-test", role, user)


def prepare_namespace(plane: ControlPlane, namespace: str) -> None:
    """A namespace with the volumes that `builders.job_body` names."""
    plane.kubectl("create", "namespace", namespace)
    volumes = [body for claim in ("models", "data", "results") for body in volume_bodies(namespace, claim)]
    plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(volumes))
