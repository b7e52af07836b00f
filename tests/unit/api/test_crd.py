from __future__ import annotations

from typing import Any

from qlora_api.crd import custom_resource_definition
from qlora_api.job import IMMUTABLE_FIELDS, MUTABLE_FIELDS
from qlora_api.spec import QLoRAJobSpec

SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def walk(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += walk(child, f"{path}.{name}")
    if "items" in schema:
        found += walk(schema["items"], f"{path}[]")
    return found


def test_every_field_of_the_spec_has_a_description() -> None:
    spec = SCHEMA["properties"]["spec"]
    assert [path for path, schema in walk(spec) if not schema.get("description")] == []


def test_every_number_of_the_spec_has_a_bound() -> None:
    numbers = [(path, s) for path, s in walk(SCHEMA["properties"]["spec"]) if s.get("type") in ("integer", "number")]
    assert len(numbers) > 10
    assert [path for path, schema in numbers if "minimum" not in schema] == []


def test_every_text_of_the_spec_is_limited() -> None:
    texts = [(path, s) for path, s in walk(SCHEMA["properties"]["spec"]) if s.get("type") == "string"]
    assert [path for path, schema in texts if "maxLength" not in schema and "enum" not in schema] == []


def test_the_schema_is_structural() -> None:
    for path, schema in walk(SCHEMA):
        assert not {"$ref", "$defs", "title", "const"} & set(schema), path
        assert "type" in schema or "x-kubernetes-int-or-string" in schema, path


def test_every_part_of_the_spec_is_fixed_once_the_job_has_started() -> None:
    parts = {field.alias or name for name, field in QLoRAJobSpec.model_fields.items()}
    assert parts == {*IMMUTABLE_FIELDS, *MUTABLE_FIELDS}
