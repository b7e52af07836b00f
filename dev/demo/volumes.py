"""The volumes of the demo and what lies on them. A pod mounts them all, and files go through it, as in any cluster."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import yaml
from dev.demo.cluster import Cluster
from dev.demo.paths import VOLUMES
from dev.demo.progress import step

NAMESPACE = "demo"
CLAIMS = {"models": "2Gi", "data": "1Gi", "results": "1Gi"}
LOADER = "loader"
USER = 10001  # as which our images run


def create_volumes(cluster: Cluster) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    objects: list[dict] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
    ]
    for claim, size in CLAIMS.items():
        if not cluster.is_local and claim_exists(cluster, claim):
            continue  # somebody's own, perhaps of another class
        objects.append(claim_manifest(claim, size, cluster.is_local))
        if cluster.is_local:
            objects.append(local_volume_manifest(claim, size))
    cluster.apply(yaml.safe_dump_all(objects))


def claim_exists(cluster: Cluster, claim: str) -> bool:
    arguments = ("persistentvolumeclaim", claim, "--namespace", NAMESPACE, "--ignore-not-found", "--output=name")
    return bool(cluster.kubectl("get", *arguments).strip())


def claim_manifest(claim: str, size: str, is_local: bool) -> dict:
    spec: dict = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": size}}}
    if is_local:
        spec.update(storageClassName="", volumeName=f"demo-{claim}")
    elif storage_class := os.environ.get("STORAGE_CLASS"):
        spec["storageClassName"] = storage_class
    metadata = {"name": claim, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def local_volume_manifest(claim: str, size: str) -> dict:
    """A folder of this machine: all nodes of the local cluster share its files."""
    folder = VOLUMES / claim
    folder.mkdir(parents=True, exist_ok=True)
    shutil.chown(folder, USER, USER)
    spec = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": str(folder)},
        "claimRef": {"namespace": NAMESPACE, "name": claim},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"demo-{claim}"}, "spec": spec}


def pod_spec(cluster: Cluster, command: list[str]) -> dict:
    """A pod of the trainer's image that sees every volume, within the restricted Pod Security Standard."""
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "main",
                "image": cluster.trainer_image,
                "command": command,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"},
                    *({"name": claim, "mountPath": f"/volumes/{claim}"} for claim in CLAIMS),
                ],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            *({"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in CLAIMS),
        ],
    }


def start_loader(cluster: Cluster) -> None:
    with step("Starting a pod that sees the volumes (the node pulls the trainer's image first)"):
        remove_loader(cluster)
        metadata = {"name": LOADER, "namespace": NAMESPACE}
        spec = pod_spec(cluster, ["sleep", "infinity"])
        cluster.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
        cluster.kubectl("wait", "--namespace", NAMESPACE, "--for=condition=Ready", f"pod/{LOADER}", "--timeout=15m")


def remove_loader(cluster: Cluster) -> None:
    cluster.kubectl("delete", "pod", LOADER, "--namespace", NAMESPACE, "--ignore-not-found", "--wait=true")


def in_loader(cluster: Cluster, *command: str) -> str:
    return cluster.kubectl("exec", "--namespace", NAMESPACE, LOADER, "--", *command)


def load(cluster: Cluster, source: Path, claim: str) -> None:
    """Copies a file or folder to the root of a volume, unless it is there with the same content."""
    digest, mark = digest_of(source), f"/volumes/{claim}/.{source.name}.sha256"
    if in_loader(cluster, "sh", "-c", f"cat {mark} 2>/dev/null || true").strip() == digest:
        return
    with step(f"Copying {source.name} to pvc://{claim}"):
        archive = subprocess.Popen(["tar", "-C", source.parent, "-cf", "-", source.name], stdout=subprocess.PIPE)
        unpack = ["kubectl", "exec", "--stdin", "--namespace", NAMESPACE, LOADER, "--"]
        unpack += ["tar", "-C", f"/volumes/{claim}", "-xf", "-", "--no-same-owner"]
        subprocess.run(unpack, stdin=archive.stdout, check=True, env=cluster.environment())
        if archive.wait() != 0:
            raise SystemExit(f"{source} could not be read")
        in_loader(cluster, "sh", "-c", f"echo {digest} > {mark}")


def digest_of(source: Path) -> str:
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
