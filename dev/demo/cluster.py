"""The cluster of the demo: the one that KUBECONFIG names, or else one of our own on this machine."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.demo.paths import CHART, CLUSTER, KUBECONFIG, ROOT
from dev.demo.progress import step

OPERATOR_NAMESPACE = "qlora-system"
RELEASE = "qlora-operator"


@dataclass(frozen=True)
class Cluster:
    kubeconfig: str
    operator_image: str
    trainer_image: str
    is_local: bool  # booted by us: its nodes see this machine's files

    def run(self, *command: str | Path, text: str | None = None) -> str:
        """What the command prints. When it fails, its own words end the demo."""
        done = subprocess.run(
            [str(word) for word in command], input=text, capture_output=True, text=True, env=self.environment()
        )
        if done.returncode != 0:
            told = done.stderr.strip() or done.stdout.strip()
            raise SystemExit(f"`{' '.join(map(str, command[:6]))} ...` failed: {told}")
        return done.stdout

    def kubectl(self, *arguments: str | Path, text: str | None = None) -> str:
        return self.run("kubectl", *arguments, text=text)

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "--filename", "-", text=manifest)

    def environment(self) -> dict[str, str]:
        path = f"{os.environ['PATH']}:{CLUSTER / 'bin'}"
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "PATH": path}


def find_cluster() -> Cluster:
    named = os.environ.get("KUBECONFIG")
    if named and Path(named).resolve() != KUBECONFIG:
        return cluster_of_the_user(named)
    for script in ("up.sh", "images.sh"):
        if subprocess.run([ROOT / "dev/cluster" / script]).returncode != 0:
            raise SystemExit(f"dev/cluster/{script} failed, and has said why above")
    images = dict(line.split("=", 1) for line in (CLUSTER / "images.env").read_text().splitlines())
    return Cluster(str(KUBECONFIG), images["OPERATOR_IMAGE"], images["TRAINER_IMAGE"], is_local=True)


def cluster_of_the_user(kubeconfig: str) -> Cluster:
    operator, trainer = os.environ.get("OPERATOR_IMAGE"), os.environ.get("TRAINER_IMAGE")
    if not operator or not trainer:
        raise SystemExit(
            "KUBECONFIG names a cluster of yours: set OPERATOR_IMAGE and TRAINER_IMAGE to images that it can pull, "
            "or unset KUBECONFIG for a cluster on this machine."
        )
    return Cluster(kubeconfig, operator, trainer, is_local=False)


def install_operator(cluster: Cluster) -> None:
    with step("Installing the operator"):
        cluster.run(
            "helm", "upgrade", "--install", RELEASE, CHART, "--namespace", OPERATOR_NAMESPACE, "--create-namespace",
            "--set", f"image={cluster.operator_image}", "--set", f"trainer.image={cluster.trainer_image}",
            "--wait", "--timeout", "5m",
        )  # fmt: skip
