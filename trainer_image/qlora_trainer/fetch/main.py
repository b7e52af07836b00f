"""Checks the job's sources, the cheap checks first, and hands their local paths to the ranks."""

from __future__ import annotations

from pathlib import Path

from qlora_api import sources
from qlora_api.job_file import JobFile
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.fetch.adapter import check_adapter
from qlora_trainer.fetch.dataset import check_rows, check_template, dataset_files
from qlora_trainer.fetch.hub import fetch_from_hub
from qlora_trainer.fetch.model import check_model
from qlora_trainer.fetch.object_storage import fetch_from_object_storage
from qlora_trainer.fetch.output import check_output
from qlora_trainer.object_storage.probe import check_prefix
from qlora_trainer.paths import PodPaths
from qlora_trainer.push import check_repository
from qlora_trainer.sources import ResolvedSources, mounted, output_folder


def fetch(job: JobFile, paths: PodPaths) -> ResolvedSources:
    """Resolves and checks model, dataset and output.

    Raises:
        TrainerError: one of them is not usable; the message names the field and what to write instead.
    """
    spec = job.spec
    output = output_folder(paths, spec.output.destination)
    with log.phase("check_output"):
        check_output(spec.output.destination, output)
        if sources.parse(spec.output.destination).scheme == "s3":
            check_prefix(spec.output.destination, spec.object_storage)
        if spec.output.push_to is not None:
            check_repository(spec.output.push_to)

    model, model_revision = _model(paths, spec)
    datasets = [_dataset(paths, spec, i) for i in range(len(spec.dataset.parts))]
    with log.phase("check_model"):
        check_model(spec.model.source, model, needs_chat_template=spec.dataset.needs_model_template)
        check_adapter(spec, model)
    with log.phase("check_dataset"):
        if spec.dataset.chat_template is not None:
            check_template(spec.dataset.chat_template)
        files = [dataset_files(part, path) for part, path in zip(spec.dataset.parts, datasets, strict=True)]
        for part, found in zip(spec.dataset.parts, files, strict=True):
            check_rows(part, found, spec.dataset)

    resolved = ResolvedSources(
        model=str(model),
        model_revision=model_revision,
        dataset=[[str(file) for file in found] for found in files],
        output=str(output),
    )
    resolved.write(paths)
    return resolved


def _model(paths: PodPaths, spec: QLoRAJobSpec) -> tuple[Path, str | None]:
    """The local path of the model, and its revision if it was downloaded."""
    model, folder = spec.model, paths.work / "model"
    location = sources.parse(model.source)
    if location.is_mounted:
        return mounted(paths, model.source), None
    with log.phase("download_model", source=model.source):
        if location.scheme == "s3":
            return fetch_from_object_storage(model.source, "model", spec.object_storage, folder)
        return fetch_from_hub(model.source, "model", model.revision, folder)


def _dataset(paths: PodPaths, spec: QLoRAJobSpec, index: int) -> Path:
    """The local path of a part of the dataset."""
    part, folder = spec.dataset.parts[index], paths.work / "dataset" / str(index)
    location = sources.parse(part.source)
    if location.is_mounted:
        return mounted(paths, part.source)
    with log.phase("download_dataset", source=part.source):
        if location.scheme == "s3":
            return fetch_from_object_storage(part.source, "dataset", spec.object_storage, folder, part.files)[0]
        return fetch_from_hub(part.source, "dataset", None, folder, part.files)[0]
