"""Fields of a job that are about a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from qlora_api import names
from qlora_api.sources import parse
from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check import Refused

UNUSED = (
    "node.image", "node.resources.memory", "node.nodeSelector", "node.tolerations", "queueName", "priorityClass",
    "runPolicy.startDeadline", "runPolicy.ttlAfterFinished", "runPolicy.cleanPods",
    "runPolicy.replacePodsOfLostNodes",
)  # fmt: skip
"""Fields of `spec` that nothing here reads."""


def unused_fields(spec: dict[str, Any]) -> list[str]:
    """Those that an author has written."""
    return [field for field in UNUSED if _given(spec, field)]


def check_place(spec: QLoRAJobSpec) -> None:
    """What stands for a cluster's Secrets and its waiting.

    Raises:
        Refused: a field asks for what a command cannot do.
    """
    wrong = [*_of_the_cluster(spec), *_secrets(spec)]
    if wrong:
        raise Refused(wrong)


def _of_the_cluster(spec: QLoRAJobSpec) -> Iterator[str]:
    if spec.run_policy.suspend:
        yield "spec.runPolicy.suspend: a suspended job does not train; write suspend: false"
    for source in spec.sources:
        if parse(source).image is not None:
            yield f"{source}: images are mounted by Kubernetes; copy its files to a folder and write pvc://claim/path"
    if parse(spec.output.destination).bucket is not None:
        yield "spec.output.destination: results go to a folder here; write pvc://claim/path"


def _secrets(spec: QLoRAJobSpec) -> Iterator[str]:
    storage = spec.object_storage
    needed = {
        "model.tokenSecret": (spec.model.token_secret, names.TOKEN_VARIABLE),
        "output.tokenSecret": (spec.output.token_secret, names.PUSH_TOKEN_VARIABLE),
        "objectStorage.credentialsSecret": (storage and storage.credentials_secret, names.ACCESS_KEY_VARIABLE),
    }
    for field, (secret, variable) in needed.items():
        if secret is not None and not os.environ.get(variable):
            yield f"spec.{field}: there are no Secrets here; put what it holds into the variable {variable}"


def _given(spec: dict[str, Any], field: str) -> bool:
    value: Any = spec
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value is not None
