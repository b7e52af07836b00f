"""The base of every API model: camelCase on the wire, snake_case in Python, unknown fields refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
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
    """CEL rules of a schema with the message of each, for a model's `json_schema_extra`."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in validations]}


def matching(pattern: str, message: str, max_length: int) -> Any:
    """A text field with a pattern. The API server answers with `message`, not with the pattern."""
    rule = f"self.matches(r'{pattern}')"
    return Field(max_length=max_length, pattern=pattern, json_schema_extra=rules((rule, message)))
