"""Defaults and bounds of a structural schema, with the API server's words for what does not fit.

The words are those of kube-openapi and of apiextensions (`unknown field`, `Required value`, `Unsupported value`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Fault(NamedTuple):
    """What is wrong with one field."""

    text: str
    is_blocking: bool = False
    """Whether rules between fields cannot be judged, since a field is missing, or of another type, or too long."""


def with_defaults(schema: Schema, value: Any) -> Any:
    """A copy of the value in which every field with a default has one; null counts as left out if there is one."""
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        has_default = {key for key, child in properties.items() if "default" in child}
        given = {key: item for key, item in value.items() if item is not None or key not in has_default}
        for key, child in properties.items():
            if key not in given and "default" in child:
                given[key] = copy.deepcopy(child["default"])
        return {key: with_defaults(properties.get(key, others), item) for key, item in given.items()}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), item) for item in value]
    return value


def faults(schema: Schema, value: Any, path: str = "") -> Iterator[Fault]:
    """What does not fit the schema: types, required and unknown fields, bounds."""
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield Fault(
                f"{path}: Invalid value: {_shown(value)}: {path} in body must be of type integer or string", True
            )
        return
    if kind is not None and not _is_a(kind, value):
        yield Fault(f'{path}: Invalid value: "{_kind_of(value)}": {path} in body must be of type {kind}', True)
        return
    if isinstance(value, dict):
        yield from _object_faults(schema, value, path)
    elif isinstance(value, list):
        yield from _list_faults(schema, value, path)
    elif isinstance(value, str):
        yield from _text_faults(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_faults(schema, value, path)
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(_shown(choice) for choice in schema["enum"])
        yield Fault(f"{path}: Unsupported value: {_shown(value)}: supported values: {supported}")


def _object_faults(schema: Schema, value: dict[str, Any], path: str) -> Iterator[Fault]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key in schema.get("required", []):
        if key not in value:
            yield Fault(f"{_below(path, key)}: Required value", True)
    keeps_all = schema.get("x-kubernetes-preserve-unknown-fields") or not (properties or others)
    for key, item in value.items():
        if key in properties:
            yield from faults(properties[key], item, _below(path, key))
        elif others:
            yield from faults(others, item, f"{path}[{key}]")
        elif not keeps_all:
            yield Fault(f'unknown field "{_below(path, key)}"', True)
    if len(value) > schema.get("maxProperties", len(value)):
        yield Fault(f"{path}: Too many: {len(value)}: must have at most {schema['maxProperties']} items", True)


def _list_faults(schema: Schema, value: list[Any], path: str) -> Iterator[Fault]:
    if len(value) < schema.get("minItems", 0):
        yield Fault(
            f"{path}: Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items"
        )
    if len(value) > schema.get("maxItems", len(value)):
        yield Fault(f"{path}: Too many: {len(value)}: must have at most {schema['maxItems']} items", True)
    for number, item in enumerate(value):
        yield from faults(schema.get("items", {}), item, f"{path}[{number}]")


def _text_faults(schema: Schema, value: str, path: str) -> Iterator[Fault]:
    if len(value) < schema.get("minLength", 0):
        bound = f"should be at least {schema['minLength']} chars long"
        yield Fault(f"{path}: Invalid value: {_shown(value)}: {path} in body {bound}")
    if len(value) > schema.get("maxLength", len(value)):
        yield Fault(f"{path}: Too long: may not be more than {schema['maxLength']} bytes", True)


def _number_faults(schema: Schema, value: float, path: str) -> Iterator[Fault]:
    least, most = schema.get("minimum"), schema.get("maximum")
    wrong = f"{path}: Invalid value: {_shown(value)}: {path} in body should be"
    if least is not None and (value < least or (schema.get("exclusiveMinimum") and value == least)):
        yield Fault(f"{wrong} greater than {'' if schema.get('exclusiveMinimum') else 'or equal to '}{least:g}")
    if most is not None and (value > most or (schema.get("exclusiveMaximum") and value == most)):
        yield Fault(f"{wrong} less than {'' if schema.get('exclusiveMaximum') else 'or equal to '}{most}")


def _is_a(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    kinds: dict[str, tuple[type, ...]] = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "number": (int, float),
    }
    return isinstance(value, kinds.get(kind, ()))


def _kind_of(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", int: "integer", float: "number", bool: "boolean"}
    return kinds.get(type(value), "null")


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
