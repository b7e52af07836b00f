"""A Kubernetes quantity such as 500m or 64Gi, written as a string or a whole number."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from qlora_api.base import rules

CPU_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k)?$"
MEMORY_PATTERN = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _schema(pattern: str, advice: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 32,
            **rules((f"string(self).matches(r'{pattern}')", advice)),
        }
    )


CpuQuantity = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(pattern=CPU_PATTERN),
    _schema(CPU_PATTERN, "write a number of cores such as 8, 0.5 or 500m"),
]
MemoryQuantity = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(pattern=MEMORY_PATTERN),
    _schema(MEMORY_PATTERN, "write a quantity of memory such as 64Gi or 512Mi"),
]
