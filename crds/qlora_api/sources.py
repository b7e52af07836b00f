"""Where a model, a dataset or an output lies, such as `pvc://claim/path` or `s3://bucket/prefix`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from qlora_api import names

PVC_PATTERN = r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_@+=.-]+)+"
HF_PATTERN = r"hf://[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?"
HF_REPOSITORY_PATTERN = r"hf://[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+"
S3_PATTERN = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_@+=.-]+)*/?"
S3_PREFIX_PATTERN = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_@+=.-]+)+"
_IMAGE_PATTERN = (
    r"[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})"
)
OCI_PATTERN = rf"oci://{_IMAGE_PATTERN}(/[A-Za-z0-9_@+=.-]+)*"
SOURCE_FORMS = "pvc://claim/path, hf://organisation/name, s3://bucket/prefix or oci://registry/name:tag/path"

_OCI = re.compile(rf"(?P<image>{_IMAGE_PATTERN})(/(?P<path>.*))?")


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
    def image(self) -> str | None:
        """The image that the pods must mount, if any."""
        return self.root if self.scheme == "oci" else None

    @property
    def is_mounted(self) -> bool:
        """Whether the pods have it as a volume and download nothing."""
        return self.scheme in ("pvc", "oci")

    @property
    def mount_path(self) -> PurePosixPath:
        """Where the claim or image is mounted in the pod.

        A mount path may have no colon; + and = are in no image's name.
        """
        assert self.is_mounted, f"{self.scheme}:// is not mounted"
        if self.scheme == "oci":
            return PurePosixPath(names.IMAGES_DIRECTORY, self.root.replace(":", "+").replace("@", "="))
        return PurePosixPath(names.VOLUMES_DIRECTORY, self.root)

    @property
    def mounted_path(self) -> PurePosixPath:
        """The path of a `pvc://` or `oci://` location inside the pod."""
        return self.mount_path / self.path


def parse(source: str) -> Location:
    """Parses a source that the schema has accepted.

    Raises:
        ValueError: the source has no scheme, an unknown one, or a path that climbs out of its root.
    """
    scheme, separator, rest = source.partition("://")
    if not separator or scheme not in ("pvc", "hf", "s3", "oci"):
        raise ValueError(f"{source!r}: write {SOURCE_FORMS}")
    root, _, path = rest.partition("/")
    if scheme == "oci":
        match = _OCI.fullmatch(rest)
        if match is None:
            raise ValueError(f"{source!r}: write {SOURCE_FORMS}")
        root, path = match["image"], match["path"] or ""
    if ".." in PurePosixPath(path).parts:
        raise ValueError(f"{source!r}: a path must not contain '..'")
    return Location(scheme=scheme, root=root, path=path.rstrip("/"))
