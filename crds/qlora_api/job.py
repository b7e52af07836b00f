"""The QLoRAJob resource as a whole, with what `kubectl get` prints."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from qlora_api import names
from qlora_api.base import ApiModel, rules
from qlora_api.spec import QLoRAJobSpec
from qlora_api.status import QLoRAJobStatus

IMMUTABLE_FIELDS = (
    "model",
    "dataset",
    "output",
    "objectStorage",
    "quantization",
    "adapter",
    "training",
    "deepspeed",
    "nodes",
    "node",
    "checkpoint",
    "evaluation",
    "reporting",
)
"""Fields of `spec` that cannot change once the job has started."""

_OPTIONAL_FIELDS = ("objectStorage", "evaluation")
"""Fields of these that may be absent, also after defaulting."""

QUEUE_FIELDS = ("queueName", "priorityClass")
"""Fields of `spec` that can change while no pods run."""

MUTABLE_FIELDS = ("runPolicy", *QUEUE_FIELDS)
"""Fields that do not concern the pods."""


def _immutable_once_started(field: str) -> tuple[str, str]:
    started = "has(oldSelf.status) && has(oldSelf.status.startTime)"
    return (
        f"!({started}) || {_same_or_absent(field) if field in _OPTIONAL_FIELDS else _same(field)}",
        f"spec.{field} cannot change once the job has started; delete the job and create it again",
    )


def _immutable_while_pods_run(field: str) -> tuple[str, str]:
    runs = "has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase in ['Starting', 'Running']"
    return (
        f"!({runs}) || {_same_or_absent(field)}",
        f"spec.{field} cannot change while pods run; set runPolicy.suspend: true, then change it",
    )


def _irremovable_while_queued(field: str) -> tuple[str, str]:
    queued = "has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == 'Queued'"
    return (
        f"!({queued}) || !has(oldSelf.spec.{field}) || has(self.spec.{field})",
        f"spec.{field} cannot be removed while the job is queued; set runPolicy.suspend: true, then remove it",
    )


def _same(field: str) -> str:
    return f"self.spec.{field} == oldSelf.spec.{field}"


def _same_or_absent(field: str) -> str:
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    return f"(has({new}) ? has({old}) && {_same(field)} : !has({old}))"


class QLoRAJobSchema(ApiModel):
    """A QLoRA fine-tune on one or more nodes, launched by DeepSpeed from a hostfile."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                f"size(self.metadata.name) <= {names.NAME_MAX_LENGTH} && "
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                f"metadata.name must be at most {names.NAME_MAX_LENGTH} characters: lower-case letters, digits and "
                "'-', a letter first and no '-' last",
            ),
            *(_immutable_once_started(field) for field in IMMUTABLE_FIELDS),
            *(_immutable_while_pods_run(field) for field in QUEUE_FIELDS),
            *(_irremovable_while_queued(field) for field in QUEUE_FIELDS),
        )
    )

    spec: QLoRAJobSpec
    """What to train, on what, with how many nodes, and where the adapter goes."""
    status: QLoRAJobStatus | None = None
    """What the operator has seen and done."""


PRINTER_COLUMNS: list[dict[str, Any]] = [
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Step", "type": "string", "jsonPath": ".status.progress.position"},
    {"name": "Loss", "type": "number", "jsonPath": ".status.progress.loss"},
    {"name": "ETA", "type": "string", "jsonPath": ".status.progress.eta"},
    {"name": "Restarts", "type": "integer", "jsonPath": ".status.restarts"},
    {"name": "Nodes", "type": "integer", "jsonPath": ".spec.nodes"},
    {"name": "Evaluation", "type": "number", "priority": 1, "jsonPath": ".status.progress.evaluation.loss"},
    {"name": "Queue", "type": "string", "priority": 1, "jsonPath": ".spec.queueName"},
    {"name": "Reason", "type": "string", "priority": 1, "jsonPath": ".status.conditions[-1:].reason"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
