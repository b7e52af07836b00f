"""Writes the CustomResourceDefinition from the models.

Kubernetes wants a structural schema: no references, no titles, no `anyOf` with null; a field that may be
absent is simply not required, and a default stands beside its field.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from qlora_api import names
from qlora_api.job import PRINTER_COLUMNS, QLoRAJobSchema

Schema = dict[str, Any]

FILE_NAME = f"{names.GROUP}_{names.PLURAL}.yaml"
FILES = (Path("crds", FILE_NAME), Path("helm/qlora-operator/files", FILE_NAME))


def structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """A pydantic JSON schema as a Kubernetes structural schema."""
    schema = _without_null(_resolved(schema, definitions), definitions)
    schema.pop("title", None)
    values = schema.pop("additionalProperties", None)
    if isinstance(values, dict):
        schema["additionalProperties"] = structural(values, definitions)
    if schema.get("default", ...) is None:
        del schema["default"]
    if "propertyNames" in schema:
        del schema["propertyNames"]
    if "properties" in schema:
        if "default" in schema:
            schema["default"] = {}  # the API server fills in the defaults of the fields
        schema["properties"] = {key: structural(value, definitions) for key, value in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = structural(schema["items"], definitions)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "pattern" in schema and "x-kubernetes-validations" in schema:
        del schema["pattern"]  # the rule says the same with a sentence
    _exclusive_bounds(schema)
    _tell_default(schema)
    return schema


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema with its reference replaced; what stands beside the reference wins, such as the description."""
    if "$ref" not in schema:
        return dict(schema)
    target = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


def _without_null(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """`anyOf: [X, null]` as X."""
    options = schema.get("anyOf", [])
    if {"type": "null"} not in options:
        return schema
    (option,) = [option for option in options if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**_resolved(option, definitions), **rest}


def _exclusive_bounds(schema: Schema) -> None:
    """OpenAPI 3.0 has `exclusiveMinimum: true` beside `minimum`."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema:
            schema[bound], schema[exclusive] = schema[exclusive], True


def _tell_default(schema: Schema) -> None:
    """`kubectl explain` prints descriptions but no defaults."""
    default = schema.get("default")
    if default not in (None, {}, [], "") and "description" in schema:
        text = str(default).lower() if isinstance(default, bool) else default
        schema["description"] += f" Default: {text}."


def custom_resource_definition() -> Schema:
    """The CRD of QLoRAJob."""
    schema = QLoRAJobSchema.model_json_schema(by_alias=True)
    root = structural(schema, schema.get("$defs", {}))
    root.pop("$defs", None)
    root["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **root["properties"],
    }
    _merge_by_type(root["properties"]["status"]["properties"]["conditions"])
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": ["qj"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": PRINTER_COLUMNS,
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def _merge_by_type(conditions: Schema) -> None:
    conditions["x-kubernetes-list-type"] = "map"
    conditions["x-kubernetes-list-map-keys"] = ["type"]


def render() -> str:
    """The CRD as YAML."""
    return yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120, allow_unicode=True)


def main() -> None:
    """Writes the CRD where it belongs, seen from the root of the repository; with --check, compares only."""
    parser = argparse.ArgumentParser(prog="python -m qlora_api.crd", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a file is stale")
    check = parser.parse_args().check
    text = render()
    for file in FILES:
        if check and (not file.is_file() or file.read_text() != text):
            sys.exit(f"{file} is stale: run `make generate` and commit it")
        if not check:
            file.write_text(text)


if __name__ == "__main__":
    main()
