"""`provenance.json`: from what, by what and how an output was made."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qlora_api.job_file import JobFile
from qlora_trainer.files import read_json
from qlora_trainer.rank.history import read_starts
from qlora_trainer.sources import ResolvedSources

PROVENANCE = "provenance.json"
_LIBRARIES = (
    "qlora-operator", "torch", "transformers", "peft", "bitsandbytes", "deepspeed", "safetensors", "tokenizers",
)  # fmt: skip


def provenance(
    job: JobFile,
    sources: ResolvedSources,
    model_sha256: dict[str, str],
    dataset_sha256: str,
    training: dict[str, Any],
    output: Path,
) -> dict[str, Any]:
    """What `provenance.json` holds.

    Args:
        job: the job.
        sources: where its sources lay.
        model_sha256: digest of each file of the base.
        dataset_sha256: digest of the dataset's files, one after another.
        training: step, of, fromStep, loss.
        output: the output folder.
    """
    return {
        "uid": job.uid,
        "attempt": job.attempt,
        "base": {"source": job.spec.model.source, "revision": sources.model_revision, "sha256": model_sha256},
        "dataset": {"sources": [part.source for part in job.spec.dataset.parts], "sha256": dataset_sha256},
        "training": training,
        "attempts": read_starts(output),
        "versions": versions(),
        "spec": job.spec.to_json(),
    }


def read_provenance(folder: Path) -> dict[str, Any]:
    """What lies in a folder; empty if nothing does."""
    return read_json(folder / PROVENANCE) or {}


def versions() -> dict[str, str]:
    """Of this program, Python, and the libraries that the result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
