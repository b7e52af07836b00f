"""Texts of several sections, each with the pattern that `kubectl apply` checks and what to write instead."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qlora_api.base import matching
from qlora_api.durations import DURATION_PATTERN, LASTING_PATTERN
from qlora_api.sources import (
    HF_PATTERN,
    HF_REPOSITORY_PATTERN,
    OCI_PATTERN,
    PVC_PATTERN,
    S3_PATTERN,
    S3_PREFIX_PATTERN,
    SOURCE_FORMS,
)

SourceText = Annotated[
    str, matching(f"^({PVC_PATTERN}|{HF_PATTERN}|{S3_PATTERN}|{OCI_PATTERN})$", f"write {SOURCE_FORMS}", 512)
]
RepositoryText = Annotated[str, matching(f"^{HF_REPOSITORY_PATTERN}$", "write hf://organisation/name", 256)]
DestinationText = Annotated[
    str, matching(f"^({PVC_PATTERN}|{S3_PREFIX_PATTERN})$", "write pvc://claim/path or s3://bucket/prefix", 512)
]
ObjectName = Annotated[
    str,
    matching(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "write the name of an object: lower-case letters, digits, '-' and '.'", 253
    ),
]
QueueObjectName = Annotated[
    str,
    matching(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "write the name of an object of Kueue: at most 63 lower-case letters, digits, '-' and '.'",
        63,
    ),
]
Revision = Annotated[str, matching("^[0-9a-f]{40}$", "write a commit: 40 hexadecimal digits", 40)]
DurationOrZero = Annotated[str, matching(DURATION_PATTERN, "write a duration such as 90s, 5m, 1h30m or 7d", 32)]
Duration = Annotated[
    str, matching(LASTING_PATTERN, "write a duration of a second or more, such as 90s, 5m, 1h30m or 7d", 32)
]
Image = Annotated[
    str,
    matching(r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", "write an image such as ghcr.io/you/qlora-trainer:0.1.0", 512),
]
Targets = Annotated[
    str,
    matching(
        r"^(all-linear|[A-Za-z_][A-Za-z0-9_.]*(,[A-Za-z_][A-Za-z0-9_.]*)*)$",
        "write all-linear, or names of modules separated by commas, such as q_proj,v_proj",
        2048,
    ),
]
ModuleNames = Annotated[
    str,
    matching(
        r"^[A-Za-z_][A-Za-z0-9_.]*(,[A-Za-z_][A-Za-z0-9_.]*)*$",
        "write names of modules separated by commas, such as norm or lm_head",
        2048,
    ),
]
TokenText = Annotated[str, Field(min_length=1, max_length=256, description="A token, as the tokenizer writes it.")]
Accelerator = Annotated[
    str,
    matching(
        r"^(cpu|[a-z0-9.-]+/[A-Za-z0-9_.-]+)$",
        "write cpu, or the name of a device resource such as nvidia.com/gpu",
        253,
    ),
]
FieldName = Annotated[str, Field(min_length=1, max_length=256)]
FilePattern = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9_@+=*?-][A-Za-z0-9_@+=.*?-]*(/[A-Za-z0-9_@+=*?-][A-Za-z0-9_@+=.*?-]*)*$",
        "write a path below the source, with * for any letters, such as data/train-*.parquet",
        256,
    ),
]
LabelText = Annotated[str, Field(max_length=317)]

NO_CLIMBING = (
    r"!self.source.matches('/\\.\\.(/|$)')",
    "source must not contain '..'; write the path from the volume's root",
)
