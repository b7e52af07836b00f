"""The pod of one node: `fetch` brings model and data, `trainer` supervises the DeepSpeed launcher.

The pod fits the `restricted` Pod Security Standard and has no access to the API server.
"""

from __future__ import annotations

from typing import Any

from qlora_api import names, sources
from qlora_operator.builders.attempt import AttemptSpec
from qlora_operator.builders.metadata import Manifest
from qlora_operator.builders.volumes import build_volume_mounts, build_volumes

USER_ID = 10001
"""User and group of the images."""


def build_pod_spec(attempt: AttemptSpec) -> Manifest:
    """`spec` of the Job's pod template."""
    node = attempt.spec.node
    secrets = [{"name": name} for name in attempt.defaults.image_pull_secrets]
    return {
        "restartPolicy": "Never",
        "subdomain": names.service_name(attempt.name),
        "terminationGracePeriodSeconds": attempt.defaults.termination_grace_period,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": secrets} if secrets else {}),
        **({"nodeSelector": node.node_selector} if node.node_selector else {}),
        **({"tolerations": [toleration.to_json() for toleration in node.tolerations]} if node.tolerations else {}),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {names.LABEL_JOB_UID: attempt.uid}},
            }
        ],
        "initContainers": [_fetch_container(attempt)],
        "containers": [_trainer_container(attempt)],
        "volumes": build_volumes(attempt),
    }


def _fetch_container(attempt: AttemptSpec) -> Manifest:
    container = _container(attempt, names.INIT_CONTAINER, "fetch")
    container["env"] += _token(names.TOKEN_VARIABLE, attempt.spec.model.token_secret)
    container["env"] += [*_object_storage_variables(attempt), *_push_variables(attempt)]
    container["resources"] = _resources(attempt, accelerator=False)
    return container


def _push_variables(attempt: AttemptSpec) -> list[Manifest]:
    return _token(names.PUSH_TOKEN_VARIABLE, attempt.spec.output.token_secret)


def _object_storage_variables(attempt: AttemptSpec) -> list[Manifest]:
    storage = attempt.spec.object_storage
    if storage is None or storage.credentials_secret is None:
        return []
    return [
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": storage.credentials_secret, "key": name, "optional": optional}},
        }
        for name, optional in (
            (names.ACCESS_KEY_VARIABLE, False),
            (names.SECRET_KEY_VARIABLE, False),
            (names.SESSION_TOKEN_VARIABLE, True),
        )
    ]


def _trainer_container(attempt: AttemptSpec) -> Manifest:
    container = _container(attempt, names.TRAINER_CONTAINER, "run")
    if sources.parse(attempt.spec.output.destination).scheme == "s3":
        container["env"] += _object_storage_variables(attempt)
    container["env"] += _push_variables(attempt)
    mlflow, wandb = attempt.spec.reporting.mlflow, attempt.spec.reporting.wandb
    container["env"] += _token("MLFLOW_TRACKING_TOKEN", mlflow.token_secret if mlflow else None)
    container["env"] += _token("WANDB_API_KEY", wandb.token_secret if wandb else None)
    container["resources"] = _resources(attempt, accelerator=True)
    container["ports"] = [{"name": "status", "containerPort": names.STATUS_PORT}]
    return container


def _token(variable: str, secret: str | None) -> list[Manifest]:
    """The variable with the key `token` of a Secret, if there is one."""
    reference = {"secretKeyRef": {"name": secret, "key": "token"}}
    return [{"name": variable, "valueFrom": reference}] if secret else []


def _container(attempt: AttemptSpec, name: str, subcommand: str) -> Manifest:
    return {
        "name": name,
        "image": attempt.image,
        "imagePullPolicy": attempt.defaults.image_pull_policy,
        "command": ["qlora-trainer", subcommand],
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108
        "terminationMessagePath": names.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": build_volume_mounts(attempt),
    }


def _resources(attempt: AttemptSpec, *, accelerator: bool) -> Manifest:
    node = attempt.spec.node
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    if node.resources.cpu:
        requests["cpu"] = node.resources.cpu
    if node.resources.memory:
        requests["memory"] = limits["memory"] = node.resources.memory
    if accelerator and node.accelerator != "cpu":
        limits[node.accelerator] = str(node.slots)
    return {"requests": requests, "limits": limits}
