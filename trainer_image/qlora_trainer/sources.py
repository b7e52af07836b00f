"""Where model, dataset and output lie in this pod: what `fetch` hands to the ranks."""

from __future__ import annotations

from pathlib import Path

from qlora_api import sources
from qlora_api.base import ApiModel
from qlora_trainer.files import write_text
from qlora_trainer.paths import PodPaths


class ResolvedSources(ApiModel):
    """Local paths, all of them absolute."""

    model: str
    """Folder with config.json, a tokenizer and safetensors."""
    model_revision: str | None = None
    """Commit of a model from the hub, or digest of what object storage has listed."""
    dataset: list[list[str]]
    """The files of each part of the dataset, in the order in which they are read."""
    evaluation: list[str]
    """The files of `evaluation.source`; empty without one."""
    output: str
    """Folder of the adapter, the checkpoints and the log."""

    @property
    def dataset_files(self) -> list[list[Path]]:
        """The files of each part of the dataset as paths."""
        return [[Path(file) for file in part] for part in self.dataset]

    @property
    def held_out_files(self) -> list[list[Path]]:
        """The files that have the held-out rows: those of the evaluation, or else those of the dataset."""
        return [[Path(file) for file in self.evaluation]] if self.evaluation else self.dataset_files

    def write(self, paths: PodPaths) -> None:
        """Writes the file for the ranks."""
        write_text(paths.sources, self.model_dump_json(by_alias=True, indent=2))

    @classmethod
    def read(cls, paths: PodPaths) -> ResolvedSources:
        """Reads what `fetch` has written."""
        return cls.model_validate_json(paths.sources.read_bytes())


def mounted(paths: PodPaths, source: str) -> Path:
    """The local path of a `pvc://` or `oci://` source."""
    return paths.at(sources.parse(source).mounted_path)


def output_folder(paths: PodPaths, destination: str) -> Path:
    """The folder that the ranks write to: on the volume, or of the pod if the results are uploaded."""
    return mounted(paths, destination) if sources.parse(destination).is_mounted else paths.work / "output"
