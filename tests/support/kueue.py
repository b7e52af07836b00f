"""Kueue as a process beside the control plane, with its own manifests, permissions, webhooks and conversions."""

from __future__ import annotations

import base64
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from support.control_plane import KUEUE, ControlPlane
from support.kubectl import BINARIES, ROOT
from support.processes import Process, free_port, wait_until

NAMESPACE = "kueue-system"
WEBHOOK_SERVICE = "kueue-webhook-service"
CERTIFICATE = "kueue-webhook-server-cert"
LEFT_OUT = frozenset({"APIService", "ConfigMap", "Deployment", "Service"})
"""Kinds of the chart that only Kueue in a pod needs."""
WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")

Body = dict[str, Any]


class Kueue:
    """Started by `start`; `stop` also takes its webhooks and queues out of the control plane."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self._certificates = folder / "certificates"
        self._certificates.mkdir()
        self._webhook_port, self._health_port = free_port(), free_port()
        self.process: Process | None = None

    def start(self) -> None:
        assert (BINARIES / "kueue").exists(), f"there is no {BINARIES / 'kueue'}; run dev/cluster/binaries.sh kueue"
        plane, manifests = self._plane, self._manifests()
        plane.kubectl("create", "namespace", NAMESPACE)
        plane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(self._applied(manifests)))
        configuration = self._folder / "kueue.yaml"
        configuration.write_text(yaml.safe_dump(self._configuration(manifests)))
        command = [BINARIES / "kueue", f"--config={configuration}", "--feature-gates=VisibilityOnDemand=false"]
        env = {"KUBECONFIG": str(plane.kubeconfig(KUEUE))}
        self.process = process = Process(command, self._folder / "kueue.log", env)
        wait_until("Kueue's certificate", self._mount_certificate, timeout=120)
        wait_until(f"Kueue, whose log is {process.log}", self._is_ready, timeout=120)

    def stop(self) -> None:
        for kind in WEBHOOKS:
            self._plane.run_kubectl("delete", kind, "-l", "app.kubernetes.io/name=kueue")
        for kind in ("localqueues", "clusterqueues", "resourceflavors"):
            self._plane.run_kubectl("delete", f"{kind}.kueue.x-k8s.io", "--all", "-A", "--timeout=30s")
        if self.process is not None:
            self.process.stop()

    def _manifests(self) -> list[Body]:
        chart, values = BINARIES / "kueue-chart", ROOT / "dev" / "cluster" / "kueue-values.yaml"
        command = [str(BINARIES / "helm"), "template", "kueue", str(chart), "-n", NAMESPACE, "-f", str(values)]
        rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [manifest for manifest in yaml.safe_load_all(rendered) if manifest]

    def _applied(self, manifests: list[Body]) -> list[Body]:
        """The chart's manifests; the webhooks' Service leads to the process instead of to a pod."""
        kept = [manifest for manifest in manifests if manifest["kind"] not in LEFT_OUT]
        for reference in _service_references(kept):
            reference["port"] = self._webhook_port
        spec = {"type": "ExternalName", "externalName": "localhost"}
        metadata = {"name": WEBHOOK_SERVICE, "namespace": NAMESPACE}
        return [*kept, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}]

    def _configuration(self, manifests: list[Body]) -> Body:
        (config_map,) = [manifest for manifest in manifests if manifest["kind"] == "ConfigMap"]
        configuration: Body = yaml.safe_load(config_map["data"]["controller_manager_config.yaml"])
        webhook = {"host": "127.0.0.1", "port": self._webhook_port, "certDir": str(self._certificates)}
        return {
            **configuration,
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._health_port}"},
            "metrics": {"bindAddress": "0"},
            "webhook": webhook,
        }

    def _mount_certificate(self) -> bool:
        """Does what a kubelet does for a pod: writes the Secret that Kueue has filled into its files."""
        assert self.process is not None
        assert self.process.alive(), self.process.tail()
        data = self._plane.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{CERTIFICATE}").get("data") or {}
        for name, content in data.items():
            (self._certificates / name).write_bytes(base64.b64decode(content))
        return "tls.crt" in data

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.alive(), self.process.tail()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._health_port}/readyz", timeout=5) as response:
            return response.status == 200


def _service_references(manifests: list[Body]) -> list[Body]:
    """Where the API server is told to reach Kueue: its webhooks, and the conversions of its resources."""
    found = []
    for manifest in manifests:
        configurations = [webhook["clientConfig"] for webhook in manifest.get("webhooks", [])]
        conversion = manifest.get("spec", {}).get("conversion", {}).get("webhook")
        if manifest["kind"] == "CustomResourceDefinition" and conversion:
            configurations.append(conversion["clientConfig"])
        found += [configuration["service"] for configuration in configurations]
    return found
