"""The result: `adapter/`, as PEFT saves it, and `merged/`, each with a model card and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qlora_api.job_file import JobFile
from qlora_trainer.fetch.families import family_of
from qlora_trainer.files import new_folder, write_json, write_text
from qlora_trainer.rank.card import base_name, model_card
from qlora_trainer.rank.export import save_adapter
from qlora_trainer.rank.merge import merge_adapter
from qlora_trainer.rank.provenance import PROVENANCE, provenance, read_provenance
from qlora_trainer.sources import ResolvedSources

ADAPTER, MERGED = "adapter", "merged"


def is_merged(output: Path, uid: str) -> bool:
    """Whether the job with this UID has already written the merged model, which appears whole or not at all."""
    return read_provenance(output / MERGED).get("uid") == uid


def write_merged(output: Path, job: JobFile, sources: ResolvedSources) -> None:
    """Writes the base with the adapter of the same output folder merged into it.

    Raises:
        TrainerError: the base's files do not have what the adapter changes.
    """
    adapter = output / ADAPTER
    card = model_card(job, sources.model_revision, finished_facts(output), is_merged=True)
    texts = {"README.md": card, PROVENANCE: (adapter / PROVENANCE).read_text()}
    merge_adapter(Path(sources.model), adapter, output / MERGED, texts)


def is_finished(output: Path, uid: str) -> bool:
    """Whether the job with this UID has already written its adapter, which appears whole or not at all."""
    return read_provenance(output / ADAPTER).get("uid") == uid


def finished_facts(output: Path) -> dict[str, Any]:
    """What the provenance says about the training: step, loss, fromStep."""
    facts: dict[str, Any] = read_provenance(output / ADAPTER)["training"]
    return facts


def write_adapter(
    engine: Any, parameters: dict[str, torch.Tensor], output: Path, job: JobFile, sources: ResolvedSources,
    model_sha256: dict[str, str], dataset_sha256: str, training: dict[str, Any],
) -> Path:  # fmt: skip
    """Saves the adapter so that `PeftModel.from_pretrained` reads it; the folder appears by one rename.

    Args:
        engine: after training.
        parameters: the whole adapter, from `gather_parameters`.
        output: the output folder.
        job: the job.
        sources: where its sources lie.
        model_sha256: digest of each file of the base.
        dataset_sha256: digest of the dataset's files.
        training: step, of, fromStep, loss.
    """
    target = output / ADAPTER
    sees = family_of(Path(sources.model)) is not None
    with new_folder(target) as folder:
        engine.module.peft_config["default"].base_model_name_or_path = base_name(job)
        save_adapter(engine, parameters, folder)
        write_text(folder / "README.md", model_card(job, sources.model_revision, training, sees=sees))
        if job.spec.dataset.chat_template is not None:  # the adapter has learned to answer in this form
            write_text(folder / "chat_template.jinja", job.spec.dataset.chat_template)
        write_json(folder / PROVENANCE, provenance(job, sources, model_sha256, dataset_sha256, training, output))
    return target
