"""The shapes of a model's weights and its config.json, without the weights: from a folder, or from the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qlora_api import names, sources
from qlora_api.spec import ModelSpec
from qlora_cli.check.refused import Refused
from qlora_cli.volumes import local_path
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.hub import explain
from qlora_trainer.fetch.weights import Shapes, read_folder_shapes
from qlora_trainer.files import read_json


class ModelFiles(NamedTuple):
    """What is known of a model."""

    shapes: Shapes
    config: dict[str, Any]


def model_files(model: ModelSpec, volumes: Mapping[str, Path]) -> ModelFiles:
    """Reads headers and config.json.

    Args:
        model: the job's.
        volumes: folder of each claim.

    Raises:
        Refused: there is no such model, or it lies where only pods can read it.
    """
    location = sources.parse(model.source)
    if location.scheme == "hf":
        return _from_hub(model)
    claim = location.claim
    if claim is None:
        raise Refused(
            [f"model.source {model.source}: only pvc:// and hf:// are read here; write one with the same model"]
        )
    if claim not in volumes:
        raise Refused([f"model.source: no folder stands for the claim {claim}; write --volume {claim}=FOLDER"])
    return _from_folder(model.source, local_path(model.source, volumes))


def _from_folder(source: str, folder: Path) -> ModelFiles:
    config = read_json(folder / "config.json")
    if config is None:
        raise Refused([f"model.source {source}: {folder} has no config.json; write the folder of a model"])
    try:
        shapes = read_folder_shapes(folder)
    except (ValueError, PermissionError) as error:
        raise Refused([f"model.source {source}: {error}; copy the file again"]) from error
    if not shapes:
        raise Refused([f"model.source {source}: {folder} has no *.safetensors; copy the model's weights there"])
    return ModelFiles(shapes, config)


def _from_hub(model: ModelSpec) -> ModelFiles:
    try:
        from huggingface_hub import get_safetensors_metadata, hf_hub_download
        from huggingface_hub.errors import NotASafetensorsRepoError
    except ImportError as error:
        raise Refused(["hf:// sources need huggingface_hub; run pip install huggingface_hub"]) from error
    repository = model.source.removeprefix("hf://").rstrip("/")
    given: dict[str, Any] = {
        "revision": model.revision,
        "token": os.environ.get(names.TOKEN_VARIABLE) or False,
    }
    try:
        files = get_safetensors_metadata(repository, **given).files_metadata
        config = json.loads(Path(hf_hub_download(repository, "config.json", **given)).read_bytes())
    except NotASafetensorsRepoError as error:
        raise Refused([f"model.source {model.source}: holds no safetensors; write a model that does"]) from error
    except Exception as error:
        found: TrainerError = explain(error, model.source, "model", model.revision)
        raise Refused([found.message]) from error
    shapes = {name: tuple(tensor.shape) for file in files.values() for name, tensor in file.tensors.items()}
    return ModelFiles(shapes, config)
