"""Objects for tests, as short to write as a test needs them."""

from __future__ import annotations

import copy
from typing import Any

from qlora_api import names

Body = dict[str, Any]

SPEC: Body = {
    "model": {"source": "pvc://models/tiny"},
    "dataset": {"source": "pvc://data/train.jsonl"},
    "output": {"destination": "pvc://results/out"},
    "nodes": 2,
    "node": {"accelerator": "cpu"},
}


def job_body(name: str = "job", namespace: str = "default", **spec: Any) -> Body:
    """A QLoRAJob as a user writes it; keyword arguments replace fields of `spec`, None removes one."""
    merged = {**copy.deepcopy(SPEC), **spec}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in merged.items() if value is not None},
    }
