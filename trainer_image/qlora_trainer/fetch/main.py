"""Checks the job's sources, the cheap checks first, and hands their local paths to the ranks."""

from __future__ import annotations

from pathlib import Path

from qlora_api.job_file import JobFile
from qlora_api.spec import DatasetPart, ModelSpec
from qlora_trainer import log
from qlora_trainer.fetch.adapter import check_adapter
from qlora_trainer.fetch.dataset import check_template
from qlora_trainer.fetch.hub import fetch_from_hub
from qlora_trainer.fetch.model import check_model
from qlora_trainer.fetch.output import check_output
from qlora_trainer.fetch.reporting import check_reporting
from qlora_trainer.fetch.split import check_dataset, check_held_out
from qlora_trainer.paths import PodPaths
from qlora_trainer.sources import ResolvedSources, mounted


def fetch(job: JobFile, paths: PodPaths) -> ResolvedSources:
    """Resolves and checks model, dataset and output.

    Raises:
        TrainerError: one of them is not usable; the message names the field and what to write instead.
    """
    spec = job.spec
    check_reporting(spec.reporting)
    output = mounted(paths, spec.output.destination)
    with log.phase("check_output"):
        check_output(spec.output.destination, output)

    model, model_revision = _model(paths, spec.model)
    datasets = [_dataset(paths, part, paths.work / "dataset" / str(i)) for i, part in enumerate(spec.dataset.parts)]
    own = spec.evaluation.part(spec.dataset) if spec.evaluation is not None else None
    held_out = (own, _dataset(paths, own, paths.work / "held-out")) if own else None
    with log.phase("check_model"):
        check_model(spec.model.source, model, needs_chat_template=spec.needs_model_template)
        check_adapter(spec, model)
    with log.phase("check_dataset"):
        if spec.dataset.chat_template is not None:
            check_template(spec.dataset.chat_template)
        files = check_dataset(spec, datasets)
        held_out_files = check_held_out(*held_out, spec) if held_out else []

    resolved = ResolvedSources(
        model=str(model),
        model_revision=model_revision,
        dataset=[[str(file) for file in found] for found in files],
        evaluation=[str(file) for file in held_out_files],
        output=str(output),
    )
    resolved.write(paths)
    return resolved


def _model(paths: PodPaths, model: ModelSpec) -> tuple[Path, str | None]:
    """The local path of the model, and its commit if it comes from the hub."""
    if not model.source.startswith("hf://"):
        return mounted(paths, model.source), None
    with log.phase("download_model", source=model.source):
        return fetch_from_hub(model.source, "model", model.revision, paths.work / "model")


def _dataset(paths: PodPaths, part: DatasetPart, folder: Path) -> Path:
    """The local path of a part of the dataset."""
    if not part.source.startswith("hf://"):
        return mounted(paths, part.source)
    with log.phase("download_dataset", source=part.source):
        return fetch_from_hub(part.source, "dataset", None, folder, part.files)[0]
