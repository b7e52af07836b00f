"""Finds the files of a dataset and checks every row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_api.spec import DatasetPart, DatasetSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.folder import missing
from qlora_trainer.rows.content import Content, Fault
from qlora_trainer.rows.files import ENDINGS
from qlora_trainer.rows.formats import Shape
from qlora_trainer.rows.read import examine

_LISTED = 5
"""Wrong rows that are named beside the first."""
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files that describe a dataset and hold no rows."""


def dataset_files(part: DatasetPart, path: Path, field: str = "dataset.source") -> list[Path]:
    """The file itself, or the data files below a folder that fit `files`, sorted by path.

    Raises:
        TrainerError: there is none, or they are of several kinds.
    """
    if not path.exists():
        raise TrainerError(Reason.DATASET_INVALID, missing(field, part.source, path))
    if not path.is_dir():
        return [path]
    files = [file for file in sorted(path.rglob(part.files or "*")) if file.is_file() and _holds_rows(file, path)]
    fault = _fault(part, path, files)
    if fault:
        raise TrainerError(Reason.DATASET_INVALID, f"{field} {part.source}: {fault}")
    return files


def _holds_rows(file: Path, folder: Path) -> bool:
    hidden = any(name.startswith(".") for name in file.relative_to(folder).parts)
    return file.suffix in ENDINGS and file.name not in _DESCRIPTIONS and not hidden


def _fault(part: DatasetPart, path: Path, files: list[Path]) -> str:
    """What is wrong with the files of a folder, or an empty string."""
    kinds = sorted({file.suffix for file in files})
    if not kinds:
        named = f" that fits files: {part.files}" if part.files else ""
        return f"{path} has no {', '.join(ENDINGS)} file{named}; put the rows into one of these"
    if len(kinds) > 1:
        return f"{path} has {' and '.join(kinds)} files; write files: '*{kinds[0]}' to read only some of them"
    if kinds == [".txt"] and part.format != "text":
        return f"{path} has only .txt files, which are plain texts; write format: text"
    return ""


def check_rows(
    part: DatasetPart, files: Sequence[Path], dataset: DatasetSpec, field: str = "dataset.source",
    is_held_out: Callable[[Content], bool] = lambda _: False, has_images: bool = False,
) -> tuple[int, int]:  # fmt: skip
    """Reads every row once. Messages may have images only for a model that sees.

    Returns:
        Rows that are learned, and rows that are held out.

    Raises:
        TrainerError: rows are not of the format, or there is none, or a file cannot be read. The message names the
            first wrong row with its fault, and some more.
    """
    good = wrong = held_out = 0
    first, others = "", list[str]()
    try:
        for row in examine(files, Shape.of(dataset, part, has_images)):
            if isinstance(row, Fault):
                wrong += 1
                first = first or f"{row.where}: {row.what}"
                if 1 < wrong <= _LISTED + 1:
                    others.append(row.where)
            else:
                good += 1
                held_out += is_held_out(row.content)
    except OSError as error:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"{field} {part.source}: {error.filename}: {error.strerror}; make it readable for this user",
        ) from error
    if wrong:
        raise TrainerError(Reason.DATASET_INVALID, first + _others(others, wrong - 1, good + wrong))
    if not good:
        raise TrainerError(
            Reason.DATASET_INVALID,
            f"{field} {part.source}: {files[0].name} is empty; write at least one row",
        )
    log.event("dataset", source=part.source, rows=good, held_out=held_out, files=len(files))
    return good - held_out, held_out


def _others(named: list[str], more: int, rows: int) -> str:
    """How many more rows are wrong, and some of them."""
    if not more:
        return ""
    listed = ", ".join(named) + (", …" if more > len(named) else "")
    return f"; {more} more of {rows} rows are wrong: {listed}"


_GENERATION = re.compile(r"{%-?\s*(end)?generation\s*-?%}")
"""A tag of transformers, which marks what the assistant says."""


def check_template(template: str) -> None:
    """Parses a chat template.

    Raises:
        TrainerError: UserError, with the line that is wrong.
    """
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        environment.parse(_GENERATION.sub("", template))
    except TemplateSyntaxError as error:
        raise TrainerError(
            Reason.USER_ERROR, f"dataset.chatTemplate line {error.lineno}: {error.message}; write a Jinja template"
        ) from error
