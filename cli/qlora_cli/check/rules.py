"""The rules of a schema in CEL, judged as the API server does, each with its own message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from qlora_cli.check.schema import Schema


def broken_rules(schema: Schema, value: Any, old: Any = None, path: str = "") -> Iterator[str]:
    """The message of each rule that does not hold.

    Args:
        schema: structural, with `x-kubernetes-validations`.
        value: fits the schema, with its defaults.
        old: what it is an update of; None for a new object, for which rules about changes are not asked.
        path: of the value.
    """
    for rule in schema.get("x-kubernetes-validations", []):
        is_about_change = "oldSelf" in rule["rule"]
        if is_about_change and old is None:
            continue
        known = {"self": value, **({"oldSelf": old} if is_about_change else {})}
        try:
            holds = _program(rule["rule"]).execute(known)
        except (ArithmeticError, TypeError, ValueError, RuntimeError) as error:
            yield f"{path}: Invalid value: {_scalar(value)}{error} evaluating rule: {rule['message']}"
            continue
        if not holds:
            yield f"{path}: Invalid value: {_scalar(value)}{rule['message']}"
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties") or {}
        for key, item in value.items():
            before = old.get(key) if isinstance(old, dict) else None
            name = f"{path}.{key}" if path else key
            yield from broken_rules(properties.get(key, others), item, before, name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from broken_rules(schema.get("items", {}), item, None, f"{path}[{number}]")


def _scalar(value: Any) -> str:
    """Only a scalar is shown."""
    return "" if isinstance(value, dict | list) else f"{json.dumps(value, ensure_ascii=False)}: "


@cache
def _program(rule: str) -> Any:
    import cel  # a second, of which half is a command line that nobody asks for

    return cel.compile(rule)
