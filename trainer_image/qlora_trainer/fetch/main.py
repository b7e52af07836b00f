"""Checks the job's sources, the cheap checks first, and hands their local paths to the ranks."""

from __future__ import annotations

from pathlib import Path

from qlora_api.job_file import JobFile
from qlora_trainer import log
from qlora_trainer.fetch.adapter import check_adapter
from qlora_trainer.fetch.dataset import check_dataset, dataset_files
from qlora_trainer.fetch.hub import fetch_from_hub
from qlora_trainer.fetch.model import check_model
from qlora_trainer.fetch.output import check_output
from qlora_trainer.paths import PodPaths
from qlora_trainer.sources import ResolvedSources, mounted


def fetch(job: JobFile, paths: PodPaths) -> ResolvedSources:
    """Resolves and checks model, dataset and output.

    Raises:
        TrainerError: one of them is not usable; the message names the field and what to write instead.
    """
    spec = job.spec
    output = mounted(paths, spec.output.destination)
    with log.phase("check_output"):
        check_output(spec.output.destination, output)

    model, model_revision = _local(paths, spec.model.source, "model", spec.model.revision)
    dataset, _ = _local(paths, spec.dataset.source, "dataset", None)
    with log.phase("check_model"):
        check_model(spec.model.source, model, needs_chat_template=spec.dataset.format == "messages")
        check_adapter(spec, model)
    with log.phase("check_dataset"):
        files = dataset_files(spec.dataset.source, dataset)
        check_dataset(files, spec.dataset)

    resolved = ResolvedSources(
        model=str(model), model_revision=model_revision, dataset=[str(file) for file in files], output=str(output)
    )
    resolved.write(paths)
    return resolved


def _local(paths: PodPaths, source: str, kind: str, revision: str | None) -> tuple[Path, str | None]:
    """The local path of a source, and the commit if it comes from the hub."""
    if not source.startswith("hf://"):
        return mounted(paths, source), None
    with log.phase(f"download_{kind}", source=source):
        return fetch_from_hub(source, kind, revision, paths.work / kind)
