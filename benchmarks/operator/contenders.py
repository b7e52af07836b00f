"""The operator and the null operator, as the benchmark sees both: something that makes pods of custom resources."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any, Protocol

from builders import job_body
from qlora_api import names
from qlora_api.spec import QLoRAJobSpec
from qlora_operator.builders import AttemptSpec, PodDefaults, children
from qlora_operator.views import QLORA_JOB, Kind, child_view
from support.control_plane import OPERATOR, ControlPlane
from support.installation import install, prepare_namespace
from support.kubectl import ROOT
from support.operator_process import Operator
from support.processes import Process, wait_until

Body = dict[str, Any]

NULL_JOB = Kind("NullJob", "benchmark.qlora.dev", "v1", "nulljobs", child_view)
NULL_OPERATOR = "null-operator"
OTHER_GROUP = "other.dev"
"""Of labels that our operator does not follow; as long as its own."""
SOURCE = Path(__file__).parent / "null"
BINARY = ROOT / ".cluster" / "benchmark" / "null-operator"
AS_INSTALLED = ("--progress-interval=5", "--resync-interval=300", "--log-format=json")
"""The chart's settings, where those of tests differ."""


class Contender(Protocol):
    """Works in a namespace of its own, under a user of its own."""

    user: str
    namespace: str
    kind: Kind
    label: str
    """Tells it from the others."""

    def prepare(self) -> None:
        """Puts in place what it needs."""

    def body(self, name: str, nodes: int) -> Body:
        """A job of that many pods."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    @property
    def pid(self) -> int: ...


class Ours:
    """The operator of this repository, with the settings and rights of its chart."""

    user, namespace, kind, label = OPERATOR, "ours", QLORA_JOB, "operator"

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._operator = Operator(plane, plane.folder)

    def prepare(self) -> None:
        install(self._plane)
        prepare_namespace(self._plane, self.namespace)

    def body(self, name: str, nodes: int) -> Body:
        return job_body(name, self.namespace, nodes=nodes, training={"globalBatchSize": nodes})

    def start(self) -> None:
        self._operator.start(*AS_INSTALLED)

    def stop(self) -> None:
        self._operator.stop()

    @property
    def pid(self) -> int:
        return self._operator.pid


class Null:
    """The floor: see null/main.go."""

    user, namespace, kind, label = NULL_OPERATOR, "null", NULL_JOB, "null"

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._process: Process | None = None

    def prepare(self) -> None:
        BINARY.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "CGO_ENABLED": "0"}
        subprocess.run(["go", "build", "-trimpath", "-o", BINARY, "."], cwd=SOURCE, env=environment, check=True)
        self._plane.kubectl("apply", "-f", str(SOURCE / "crd.yaml"))
        wait_until("the null CRD", lambda: self._plane.run_kubectl("get", "nulljobs", "-A").returncode == 0)
        prepare_namespace(self._plane, self.namespace)
        role, user = "--clusterrole=cluster-admin", f"--user={NULL_OPERATOR}"
        self._plane.kubectl("create", "clusterrolebinding", NULL_OPERATOR, role, user)

    def body(self, name: str, nodes: int) -> Body:
        metadata = {"name": name, "namespace": self.namespace}
        group_version = f"{NULL_JOB.group}/{NULL_JOB.version}"
        return {"apiVersion": group_version, "kind": NULL_JOB.name, "metadata": metadata, "spec": {"nodes": nodes}}

    def start(self) -> None:
        folder = self._plane.folder
        command = [
            BINARY, "-server", self._plane.url, "-authority", folder / "ca.crt",
            "-certificate", folder / f"{NULL_OPERATOR}.crt", "-key", folder / f"{NULL_OPERATOR}.key",
        ]  # fmt: skip
        self._process = Process(command, folder / "null-operator.log")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class NullWithSamePods:
    """The null operator, asked for pods with the template of ours: what larger pods take is no work of an operator.

    The ConfigMap and the claims that they name are there. Only the group of their labels is another: our operator would
    follow these pods too, and slow its rival down.
    """

    user, namespace, kind, label = NULL_OPERATOR, Null.namespace, NULL_JOB, "null, same pods"

    def __init__(self, null: Null, ours: Ours) -> None:
        self._null, self._ours = null, ours

    def prepare(self) -> None: ...

    def body(self, name: str, nodes: int) -> Body:
        body = self._null.body(name, nodes)
        spec = QLoRAJobSpec.model_validate(self._ours.body(name, nodes)["spec"])
        defaults = PodDefaults(image="trainer:test", image_pull_policy="IfNotPresent", termination_grace_period=60)
        uid = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        job = children(AttemptSpec(self.namespace, name, uid, 1, spec, defaults))[-1]
        template = json.dumps(job["spec"]["template"]).replace(f'"{names.GROUP}/', f'"{OTHER_GROUP}/')
        body["spec"]["template"] = json.loads(template)
        return body

    def start(self) -> None: ...

    def stop(self) -> None: ...

    @property
    def pid(self) -> int:
        return self._null.pid
