"""Fields of a job that are about a cluster."""

from __future__ import annotations

import os
from typing import Any

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
    if spec.run_policy.suspend:
        raise Refused(["spec.runPolicy.suspend: a suspended job does not train; write suspend: false"])
    if spec.model.token_secret is not None and not os.environ.get("HF_TOKEN"):
        raise Refused(["spec.model.tokenSecret: there are no Secrets here; put the token into the variable HF_TOKEN"])


def _given(spec: dict[str, Any], field: str) -> bool:
    value: Any = spec
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value is not None
