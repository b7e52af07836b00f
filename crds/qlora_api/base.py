"""The base of every API model: camelCase on the wire, snake_case in Python, unknown fields refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A model whose JSON form is a Kubernetes object or a part of one."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        use_enum_values=True,
    )

    def to_json(self) -> dict[str, Any]:
        """The model as JSON-ready data, without the fields that are unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rules(*validations: tuple[str, str]) -> dict[str, Any]:
    """CEL rules of a schema, for a model's `json_schema_extra`.

    Each is (rule, message). A message that starts with `=` is a CEL expression that makes the message.
    """
    return {"x-kubernetes-validations": [_rule(rule, message) for rule, message in validations]}


def _rule(rule: str, message: str) -> dict[str, str]:
    if message.startswith("="):
        return {"rule": rule, "messageExpression": message[1:]}
    return {"rule": rule, "message": message}
