"""The result: `adapter/`, as PEFT saves it, with a model card and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic.alias_generators import to_camel

from qlora_api.job_file import JobFile
from qlora_api.spec import AdapterSpec
from qlora_trainer.files import new_folder, read_json, write_json, write_text
from qlora_trainer.rank.export import save_adapter
from qlora_trainer.rank.standing import perplexity
from qlora_trainer.sources import ResolvedSources

ADAPTER = "adapter"
_PROVENANCE = "provenance.json"


def is_finished(output: Path, uid: str) -> bool:
    """Whether the job with this UID has already written its adapter, which appears whole or not at all."""
    provenance = read_json(output / ADAPTER / _PROVENANCE) or {}
    return provenance.get("uid") == uid


def finished_facts(output: Path) -> dict[str, Any]:
    """What the provenance says about the training: step, loss, fromStep."""
    facts: dict[str, Any] = (read_json(output / ADAPTER / _PROVENANCE) or {})["training"]
    return facts


def write_adapter(
    engine: Any, parameters: dict[str, torch.Tensor], output: Path, job: JobFile, sources: ResolvedSources,
    dataset_sha256: str, training: dict[str, Any],
) -> Path:  # fmt: skip
    """Saves the adapter so that `PeftModel.from_pretrained` reads it; the folder appears by one rename."""
    target = output / ADAPTER
    with new_folder(target) as folder:
        engine.module.peft_config["default"].base_model_name_or_path = base_name(job)
        save_adapter(engine, parameters, folder)
        write_text(folder / "README.md", model_card(job, training))
        if job.spec.dataset.chat_template is not None:  # the adapter has learned to answer in this form
            write_text(folder / "chat_template.jinja", job.spec.dataset.chat_template)
        write_json(
            folder / _PROVENANCE,
            {
                "uid": job.uid,
                "attempt": job.attempt,
                "base": {"source": job.spec.model.source, "revision": sources.model_revision},
                "dataset": {"sources": _sources(job), "sha256": dataset_sha256},
                "training": training,
                "spec": job.spec.to_json(),
            },
        )
    return target


def _sources(job: JobFile) -> list[str]:
    """What the adapter was trained on."""
    return [part.source for part in job.spec.dataset.parts]


def base_name(job: JobFile) -> str:
    """The base model's name on the hub, or its source as the job has it: never a path of the pod."""
    return job.spec.model.source.removeprefix("hf://").rstrip("/")


def model_card(job: JobFile, training: dict[str, Any]) -> str:
    """A README in the form of the Hugging Face hub."""
    spec = job.spec
    sources = ", ".join(f"`{source}`" for source in _sources(job))
    return f"""---
library_name: peft
base_model: {base_name(job)}
tags: [{spec.adapter.method}, qlora]
---

# {job.name}

An adapter of `{base_name(job)}`, method {adapter_text(spec.adapter)}.

Trained by qlora-operator on {sources} with a base of type {spec.quantization.type}: \
{training["step"]} steps of {spec.training.global_batch_size} sequences, last loss {training["loss"]:.4f}.
{_evaluation_text(training)}
    base = AutoModelForCausalLM.from_pretrained("the folder of {Path(base_name(job)).name}")
    model = PeftModel.from_pretrained(base, "this folder")
"""


def _evaluation_text(training: dict[str, Any]) -> str:
    """A paragraph on the held-out rows, if there were any."""
    found = training.get("evaluation")
    if found is None:
        return ""
    step = training["exportedStep"]
    loss = found["bestLoss"] if step == found["bestStep"] else found["loss"]
    return f"""
On held-out rows the mean loss a token is {loss:.4f}, a perplexity of {perplexity(loss):.2f}, at step {step}, whose \
adapter this is.
"""


def adapter_text(adapter: AdapterSpec) -> str:
    """The method and what it was given: `lora (rank 16, alpha 32, ...)`."""
    given = {to_camel(name): value for name, value in adapter.parameters.items() if value not in ("", (), [])}
    return f"{adapter.method} ({', '.join(f'{name} {value}' for name, value in given.items())})"
