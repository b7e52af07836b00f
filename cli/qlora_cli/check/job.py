"""Whether a job is accepted, and the job with its defaults."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from qlora_api.crd import custom_resource_definition
from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check.refused import Refused
from qlora_cli.check.rules import broken_rules
from qlora_cli.check.schema import faults, with_defaults

Body = dict[str, Any]


def check_job(body: Body, old: Body | None = None) -> QLoRAJobSpec:
    """The spec of a job that the API server would accept.

    Args:
        body: the job as its author wrote it.
        old: the job of that name that there is already, with its status, if any.

    Raises:
        Refused: it would not; in the API server's words.
    """
    version = custom_resource_definition()["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    job = with_defaults(schema, {key: value for key, value in body.items() if key != "status"})
    before = None if old is None else with_defaults(schema, old)
    found = list(faults(schema, job))
    wrong = [fault.text for fault in found]
    if not any(fault.is_blocking for fault in found):
        wrong += broken_rules(schema, job, before)
    if wrong:
        raise Refused(wrong)
    try:
        return QLoRAJobSpec.model_validate(job["spec"])
    except ValidationError as error:
        fields = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        raise Refused([f"spec.{field}: {message}" for field, message in fields]) from error
