"""Manifests of the children as pure functions, one module for each kind.

`children` is the table of contents: what one attempt of a job consists of.
"""

from __future__ import annotations

from qlora_operator.builders.attempt import AttemptSpec, PodDefaults
from qlora_operator.builders.config_map import build_config_map
from qlora_operator.builders.job import build_job
from qlora_operator.builders.metadata import Manifest
from qlora_operator.builders.service import build_service

__all__ = ["AttemptSpec", "Manifest", "PodDefaults", "children"]


def children(attempt: AttemptSpec) -> tuple[Manifest, ...]:
    """All objects of one attempt."""
    return build_service(attempt), build_config_map(attempt), build_job(attempt)
