"""Checks the job's sources, the cheap checks first, and hands their local paths to the ranks."""

from __future__ import annotations

from pathlib import Path

from qlora_api import sources
from qlora_api.job_file import JobFile
from qlora_api.spec import DatasetPart, QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.fetch.adapter import check_adapter
from qlora_trainer.fetch.dataset import check_template
from qlora_trainer.fetch.families import family_of
from qlora_trainer.fetch.hub import fetch_from_hub
from qlora_trainer.fetch.memory import tell_memory
from qlora_trainer.fetch.model import check_model
from qlora_trainer.fetch.object_storage import fetch_from_object_storage
from qlora_trainer.fetch.output import check_output
from qlora_trainer.fetch.reporting import check_reporting
from qlora_trainer.fetch.split import check_dataset, check_held_out
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
    check_reporting(spec.reporting)
    output = output_folder(paths, spec.output.destination)
    with log.phase("check_output"):
        check_output(spec.output.destination, output)
        if sources.parse(spec.output.destination).scheme == "s3":
            check_prefix(spec.output.destination, spec.object_storage)
        if spec.output.push_to is not None:
            check_repository(spec.output.push_to)

    model, model_revision = _model(paths, spec)
    parts = spec.dataset.parts
    datasets = [_rows(paths, spec, part, paths.work / "dataset" / str(i)) for i, part in enumerate(parts)]
    own = spec.evaluation.part(spec.dataset) if spec.evaluation is not None else None
    held_out = (own, _rows(paths, spec, own, paths.work / "held-out")) if own else None
    with log.phase("check_model"):
        check_model(spec.model.source, model, needs_chat_template=spec.needs_model_template)
        check_adapter(spec, model)
        tell_memory(spec, model)
    with log.phase("check_dataset"):
        if spec.dataset.chat_template is not None:
            check_template(spec.dataset.chat_template)
        sees = family_of(model) is not None
        files = check_dataset(spec, datasets, sees)
        held_out_files = check_held_out(*held_out, spec, sees) if held_out else []

    resolved = ResolvedSources(
        model=str(model),
        model_revision=model_revision,
        dataset=[[str(file) for file in found] for found in files],
        evaluation=[str(file) for file in held_out_files],
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


def _rows(paths: PodPaths, spec: QLoRAJobSpec, part: DatasetPart, folder: Path) -> Path:
    """The local path of a part of the dataset or of the held-out rows, which lies in `folder` if it is downloaded."""
    location = sources.parse(part.source)
    if location.is_mounted:
        return mounted(paths, part.source)
    with log.phase("download_dataset", source=part.source):
        if location.scheme == "s3":
            return fetch_from_object_storage(part.source, "dataset", spec.object_storage, folder, part.files)[0]
        return fetch_from_hub(part.source, "dataset", None, folder, part.files)[0]
