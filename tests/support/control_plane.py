"""A real etcd, API server, controller manager and scheduler on loopback, with fake nodes of kwok.

Pods that are bound to a fake node run at once and then stay as they are; a test that wants one to end
writes its status, as a kubelet would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from support.kubectl import ADMIN, BINARIES, Cluster
from support.processes import Process, free_port, wait_until

HERE = Path(__file__).parents[1] / "integration"
LOOPBACK = "127.0.0.1"
OPERATOR = "operator"
KUEUE = "kueue"
USERS = {
    "apiserver": "/CN=kube-apiserver",
    ADMIN: "/O=system:masters/CN=admin",
    "kwok": "/O=system:masters/CN=kwok",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    OPERATOR: "/CN=operator",
    KUEUE: "/CN=system:serviceaccount:kueue-system:kueue-controller-manager",
}


class ControlPlane(Cluster):
    """Started by `start`, stopped by `stop`; everything it writes lies in `folder`.

    Args:
        folder: an empty folder.
        nodes: fake nodes.
        users: further users with a kubeconfig, and the subjects of their certificates.
        pod_address: of all pods. The endpoint controllers refuse a loopback address, again and again.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 4,
        users: Mapping[str, str] | None = None,
        pod_address: str = LOOPBACK,
    ) -> None:
        self.folder = folder
        self.audit_log = folder / "audit.log"
        self._nodes = nodes
        self._users = {**USERS, **(users or {})}
        self._pod_address = pod_address
        self._processes: dict[str, Process] = {}
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def kubeconfig(self, user: str = ADMIN) -> Path:
        return self.folder / f"{user}.kubeconfig"

    def start(self) -> None:
        self._certificates()
        etcd, peer = free_port(), free_port()
        pki = self.folder
        self._run(
            "etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{etcd}", "--advertise-client-urls", f"http://127.0.0.1:{etcd}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        )  # fmt: skip
        apiserver = self._run(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1",
            f"--secure-port={self._port}", "--service-cluster-ip-range=10.96.0.0/16",
            f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki}/sa.key",
            f"--service-account-signing-key-file={pki}/sa.key", "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={HERE / 'audit-policy.yaml'}", f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=10000",
        )  # fmt: skip
        wait_until("API server", lambda: self.kubectl("get", "--raw", "/readyz"), timeout=180)
        assert apiserver.alive(), apiserver.tail()
        self._run(
            "kube-controller-manager", f"--kubeconfig={self.kubeconfig('controller-manager')}", "--leader-elect=false",
            f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt",
            f"--secure-port={free_port()}", "--bind-address=127.0.0.1", "--use-service-account-credentials",
            "--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-job-syncs=20",
            "--node-monitor-grace-period=10m",
        )  # fmt: skip
        self._run(
            "kube-scheduler", f"--kubeconfig={self.kubeconfig('scheduler')}", "--leader-elect=false",
            f"--secure-port={free_port()}", "--bind-address=127.0.0.1",
        )  # fmt: skip
        stages = self.folder / "stages.yaml"
        stages.write_text((HERE / "kwok" / "stages.yaml").read_text().replace(LOOPBACK, self._pod_address))
        self._run(
            "kwok", f"--kubeconfig={self.kubeconfig('kwok')}", "--manage-all-nodes",
            f"--config={stages}", "--node-lease-duration-seconds=0",
        )  # fmt: skip
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(node_body(f"fake-{i}") for i in range(self._nodes)))
        wait_until(
            "ready nodes",
            lambda: self.kubectl("get", "nodes", "--no-headers").count(" Ready") == self._nodes,
            timeout=120,
        )

    def restart_api_server(self, pause: float) -> None:
        """Takes the API server away for a while; the others have to live with that."""
        old = self._processes["kube-apiserver"]
        old.kill()
        time.sleep(pause)
        self._processes["kube-apiserver"] = old.again()
        wait_until("API server", lambda: self.kubectl("get", "--raw", "/readyz"), timeout=60)

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            process.kill()  # nothing of it is kept; a clean end would wait for every watch

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """One of the programs does nothing meanwhile, as on a machine that is too busy."""
        pid = self._processes[name].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _run(self, name: str, *arguments: object) -> Process:
        process = Process([BINARIES / name, *arguments], self.folder / f"{name}.log")
        self._processes[name] = process
        return process

    def _certificates(self) -> None:
        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-subj", "/CN=ca", "-out", "ca.crt"
        )
        openssl("genrsa", "-out", "sa.key", "2048")
        extensions = self.folder / "extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        for user, subject in self._users.items():
            openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{user}.key", "-subj", subject,
                    "-out", f"{user}.csr")  # fmt: skip
            openssl("x509", "-req", "-in", f"{user}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                    "-out", f"{user}.crt", "-extfile", "extensions")  # fmt: skip
            self.kubeconfig(user).write_text(yaml.safe_dump(self._kubeconfig(user)))

    def _kubeconfig(self, user: str) -> dict[str, object]:
        cluster = {"server": self.url, "certificate-authority": f"{self.folder}/ca.crt"}
        credentials = {"client-certificate": f"{self.folder}/{user}.crt", "client-key": f"{self.folder}/{user}.key"}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }


def node_body(name: str, labels: dict[str, str] | None = None) -> dict[str, object]:
    """A node that kwok plays."""
    resources = {"cpu": "64", "memory": "512Gi", "pods": "500", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "status": {"capacity": resources, "allocatable": resources},
    }
