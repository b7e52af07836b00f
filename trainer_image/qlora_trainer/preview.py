"""Shows what a job trains on: a micro-batch as text, with what is learned in colour."""

from __future__ import annotations

import contextlib
import sys
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.dataset import dataset_files
from qlora_trainer.job import load_job
from qlora_trainer.paths import PodPaths
from qlora_trainer.rank.batches import global_batch, total_steps
from qlora_trainer.rank.data import Dataset, Document, load_dataset
from qlora_trainer.rank.make_data import make_dataset
from qlora_trainer.rank.tokenizer import is_processor, load_reader
from qlora_trainer.sources import ResolvedSources, mounted

LEARNED, READ = "bold green", "dim"
BRACKETS = ("⟦", "⟧")
"""Around what is learned, where there is no colour."""


def preview(paths: PodPaths, job_file: Path | None, step: int, rows: int, console: Console) -> None:
    """Prints the first micro-batch of a step.

    In a pod that trains it is the batch of that step. Elsewhere it comes from the first rows of each file.

    Args:
        paths: where the volumes lie, and in a pod the job.
        job_file: a QLoRAJob as YAML; None for the job of this pod.
        step: optimizer step, counted from 1.
        rows: rows of each part of the dataset that are read.
        console: where it is printed.

    Raises:
        TrainerError: the job or its dataset cannot be used.
    """
    spec = load_job(paths).spec if job_file is None else _read_spec(job_file)
    model, files = _sources(paths, spec, job_file is None)
    reader = load_reader(model, spec.dataset)
    with TemporaryDirectory() as folder:
        tokens = paths.tokens
        if job_file is not None or not tokens.exists():
            tokens = Path(folder) / "tokens"
            with contextlib.redirect_stdout(sys.stderr):
                make_dataset(tokens, files, spec, reader, rows)
        if is_processor(reader):  # an image is hundreds of equal tokens
            show(load_dataset(tokens), spec, reader.tokenizer, step, console, frozenset(reader.image_token_ids))
        else:
            show(load_dataset(tokens), spec, reader, step, console)


def show(
    dataset: Dataset, spec: QLoRAJobSpec, tokenizer: Any, step: int, console: Console,
    hidden: frozenset[int] = frozenset(),
) -> None:  # fmt: skip
    """Prints the figures of a dataset and the first micro-batch of a step, without the tokens that are hidden."""
    training = spec.training
    tokens, learned = int(dataset.lengths.sum()), int(dataset.targets.sum())
    console.print(
        f"{len(dataset.offsets) - 1} documents in {len(dataset)} sequences, {tokens} tokens, "
        f"{learned / tokens:.0%} of them learned, {total_steps(dataset.mix, training)} steps",
        highlight=False,
    )
    colour = console.color_system is not None
    console.print(Text("what is learned", LEARNED) if colour else Text("what is learned".join(BRACKETS)))
    batch = global_batch(step - 1, dataset.mix, training)[: training.micro_batch_size]
    for place, number in enumerate(batch, start=1):
        length = int(dataset.lengths[number])
        console.rule(f"step {step}, sequence {place}: {length} of {training.sequence_length} tokens")
        for document in dataset.sequence(number):
            console.print(styled(document, tokenizer, colour, hidden), soft_wrap=True)
            console.print(f"└ {len(document.ids)} tokens, {int(document.learned.sum())} learned", style="blue")


def styled(document: Document, tokenizer: Any, colour: bool, hidden: frozenset[int] = frozenset()) -> Text:
    """The text of a document. What is learned differs in style or, without colour, stands in brackets."""
    text = Text()
    whole = zip(document.ids.tolist(), document.learned.tolist(), strict=True)
    pairs = (pair for pair in whole if pair[0] not in hidden)
    for learned, run in groupby(pairs, key=lambda pair: pair[1]):
        part = tokenizer.decode([token for token, _ in run], clean_up_tokenization_spaces=False)
        if colour or not learned:
            text.append(part, LEARNED if learned else READ)
        else:
            text.append(part.join(BRACKETS))
    return text


def _read_spec(file: Path) -> QLoRAJobSpec:
    try:
        return QLoRAJobSpec.model_validate(yaml.safe_load(file.read_text())["spec"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise TrainerError(Reason.USER_ERROR, f"{file}: {error}; write the file of a QLoRAJob") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise TrainerError(Reason.USER_ERROR, f"{file}: {field}: {first['msg']}") from error


def _sources(paths: PodPaths, spec: QLoRAJobSpec, fetched: bool) -> tuple[str, list[list[Path]]]:
    """The folder of the model and the files of each part of the dataset."""
    if fetched:
        resolved = ResolvedSources.read(paths)
        return resolved.model, resolved.dataset_files
    for source in (spec.model.source, *(part.source for part in spec.dataset.parts)):
        if not source.startswith("pvc://"):
            raise TrainerError(Reason.USER_ERROR, f"{source}: is not on a volume; run this in a pod of the job instead")
    return str(mounted(paths, spec.model.source)), [
        dataset_files(part, mounted(paths, part.source)) for part in spec.dataset.parts
    ]
