"""Where a model, a dataset or an output lies: `pvc://claim/path`, `hf://org/name`, `s3://bucket/prefix`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from qlora_api import names

PVC_PATTERN = r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_@+=.-]+)+"
HF_PATTERN = r"hf://[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?"
HF_REPOSITORY_PATTERN = r"hf://[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+"
S3_PATTERN = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_@+=.-]+)*/?"
S3_PREFIX_PATTERN = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_@+=.-]+)+"
SOURCE_FORMS = "pvc://claim/path, hf://organisation/name or s3://bucket/prefix"


@dataclass(frozen=True)
class Location:
    """A parsed source: `pvc://data/a/b.jsonl` has scheme `pvc`, root `data` and path `a/b.jsonl`."""

    scheme: str
    root: str
    path: str

    @property
    def claim(self) -> str | None:
        """The PersistentVolumeClaim that the pods must mount, if any."""
        return self.root if self.scheme == "pvc" else None

    @property
    def bucket(self) -> str | None:
        """The bucket of an object store, if any."""
        return self.root if self.scheme == "s3" else None

    @property
    def mounted_path(self) -> PurePosixPath:
        """The path of a `pvc://` location inside the pod."""
        assert self.scheme == "pvc", f"{self.scheme}:// is not mounted"
        return PurePosixPath(names.VOLUMES_DIRECTORY, self.root, self.path)


def parse(source: str) -> Location:
    """Parses a source that the schema has accepted.

    Raises:
        ValueError: the source has no scheme, an unknown one, or a path that climbs out of its root.
    """
    scheme, separator, rest = source.partition("://")
    if not separator or scheme not in ("pvc", "hf", "s3"):
        raise ValueError(f"{source!r}: write {SOURCE_FORMS}")
    root, _, path = rest.partition("/")
    if ".." in PurePosixPath(path).parts:
        raise ValueError(f"{source!r}: a path must not contain '..'")
    return Location(scheme=scheme, root=root, path=path.rstrip("/"))
