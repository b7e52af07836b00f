"""The folders that stand for the claims of a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qlora_api import sources
from qlora_api.spec import QLoRAJobSpec
from qlora_cli.check.refused import Refused


def needed_volumes(spec: QLoRAJobSpec, given: Mapping[str, Path]) -> dict[str, Path]:
    """The folder of each claim that the job names.

    Raises:
        Refused: a claim has no folder.
    """
    texts = {
        "model.source": spec.model.source,
        **{f"dataset source {part.source}": part.source for part in spec.dataset.parts},
        "evaluation.source": spec.evaluation.source if spec.evaluation is not None else None,
        "output.destination": spec.output.destination,
    }
    found, wrong = {}, []
    for field, text in texts.items():
        claim = None if text is None else sources.parse(text).claim
        if claim is None:
            continue
        if claim in given:
            found[claim] = given[claim]
        else:
            wrong.append(f"{field}: no folder stands for the claim {claim}; write --volume {claim}=FOLDER")
    if wrong:
        raise Refused(wrong)
    return found


def local_path(source: str, volumes: Mapping[str, Path]) -> Path:
    """Where a `pvc://` source lies on this machine."""
    location = sources.parse(source)
    return volumes[location.root] / location.path
