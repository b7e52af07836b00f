"""Uploads files of a folder as objects, and removes or moves what lies below a prefix."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import S3Store

_PART_BYTES = 16 * 2**20
_AT_A_TIME = 4


def upload_file(bucket: S3Store, file: Path, key: str) -> None:
    """Uploads one file; readers see the old object or the new one, nothing between.

    Raises:
        Exception: of the store; `fault.fault_of` says what it means.
    """
    import obstore

    obstore.put(bucket, key, file, chunk_size=_PART_BYTES, max_concurrency=_AT_A_TIME)


def upload_folder(bucket: S3Store, folder: Path, prefix: str, last: str) -> None:
    """Uploads all files of a folder. The one named `last` says that the others are whole: it goes last.

    If it is there from before, it is removed first.

    Raises:
        Exception: of the store; `fault.fault_of` says what it means.
    """
    import obstore

    obstore.delete(bucket, f"{prefix}/{last}")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert last in names, f"{folder} has no {last}"
    for name in sorted(names, key=lambda name: name == last):
        upload_file(bucket, folder / name, f"{prefix}/{name}")


class ChangedFiles:
    """Files of a folder that change now and then; each is uploaded when it is not as it was uploaded last.

    Args:
        bucket: where they go.
        folder: where they are.
        prefix: of their keys.
    """

    def __init__(self, bucket: S3Store, folder: Path, prefix: str) -> None:
        self._bucket, self._folder, self._prefix = bucket, folder, prefix
        self._uploaded: dict[Path, tuple[int, int]] = {}

    def upload(self, files: Iterable[Path]) -> None:
        """Uploads those that are there and have changed.

        Raises:
            Exception: of the store; `fault.fault_of` says what it means.
        """
        for file in files:
            if not file.is_file():
                continue
            found = file.stat()
            state = (found.st_size, found.st_mtime_ns)
            if self._uploaded.get(file) != state:
                upload_file(self._bucket, file, f"{self._prefix}/{file.relative_to(self._folder)}")
                self._uploaded[file] = state


def keys_below(bucket: S3Store, prefix: str) -> list[str]:
    """Keys of all objects below a prefix.

    Raises:
        Exception: of the store; `fault.fault_of` says what it means.
    """
    import obstore

    return [meta["path"] for page in obstore.list(bucket, prefix) for meta in page]


def remove_below(bucket: S3Store, prefix: str) -> None:
    """Removes all objects below a prefix.

    Raises:
        Exception: of the store; `fault.fault_of` says what it means.
    """
    import obstore

    keys = keys_below(bucket, prefix)
    if keys:
        obstore.delete(bucket, keys)
