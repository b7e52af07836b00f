"""Downloads objects as files: whole or not at all, and from where an interrupted download has left off.

A large object is fetched in parts, several at a time, small ones several at a time. What comes is appended in order
to a hidden file, whose name has a digest of the object's ETag in it. The file gets its own name once it has the size
that the store has listed. Each part is asked for by that ETag, so no file is ever made of two versions of an object.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from qlora_trainer.files import fsync

if TYPE_CHECKING:
    from obstore import Bytes
    from obstore.store import S3Store

PART_BYTES = 16 * 2**20
AHEAD = 8
"""Parts that are in memory or under way at a time."""


class RemoteFile(NamedTuple):
    """One object, as listed."""

    key: str
    """In the bucket."""
    path: str
    """Below the prefix that was listed."""
    size: int
    """Bytes."""
    etag: str


class CutOffError(Exception):
    """The store has sent another number of bytes than it had announced."""


def list_files(bucket: S3Store, prefix: str) -> list[RemoteFile]:
    """All objects below a prefix, sorted by key, or the one object of exactly that key.

    Empty objects that stand for folders, which consoles make, are left out.

    Raises:
        ValueError: a key that is not a path below the prefix.
        Exception: of the store; `fault.fault_of` says what it means.
    """
    import obstore

    found = [meta for page in obstore.list(bucket, prefix or None) for meta in page]
    if not found and prefix:
        try:
            found = [obstore.head(bucket, prefix)]
        except FileNotFoundError:
            return []
    folders = {str(parent) for meta in found for parent in PurePosixPath(meta["path"]).parents}
    return sorted(
        RemoteFile(meta["path"], _below(meta["path"], prefix), meta["size"], meta["e_tag"] or "")
        for meta in found
        if meta["size"] or meta["path"] not in folders
    )


def _below(key: str, prefix: str) -> str:
    path = PurePosixPath(key)
    relative = PurePosixPath(path.name) if key == prefix else path.relative_to(prefix)
    if ".." in relative.parts:
        raise ValueError(f"object {key!r} has '..' in its key; rename it")
    return str(relative)


def revision_of(files: Sequence[RemoteFile]) -> str:
    """A digest of names, sizes and ETags: the same as long as nothing below the prefix changes."""
    lines = "".join(f"{file.path} {file.size} {file.etag}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def download(bucket: S3Store, files: Sequence[RemoteFile], folder: Path) -> int:
    """Brings the files into a folder. What is there already, with its size, is kept; several processes take turns.

    Returns:
        The bytes that were transferred.

    Raises:
        CutOffError: after retries, still fewer bytes than listed.
        OSError: the disk is full, for example.
        Exception: of the store; `fault.fault_of` says what it means.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _turn(folder), ThreadPoolExecutor(AHEAD, thread_name_prefix="download") as pool:
        small = [file for file in files if file.size <= PART_BYTES]
        large = [file for file in files if file.size > PART_BYTES]
        received = sum(pool.map(lambda file: _download_file(bucket, file, folder, pool), small))
        return received + sum(_download_file(bucket, file, folder, pool) for file in large)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download_file(bucket: S3Store, file: RemoteFile, folder: Path, pool: ThreadPoolExecutor) -> int:
    target = folder / file.path
    mark = folder / ".etags" / f"{file.path}.etag"
    if _is_there(target, mark, file):
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{hashlib.sha256(file.etag.encode()).hexdigest()[:16]}.part")
    with unfinished.open("ab") as stream:
        begin = stream.tell()
        if begin > file.size:
            stream.truncate(begin := 0)
        for part in _parts(bucket, file, begin, pool):
            stream.write(part)
        stream.flush()
        received = stream.tell()
    if received != file.size:
        unfinished.unlink()
        raise CutOffError(f"{file.key}: {received} of {file.size} bytes")
    fsync(unfinished)
    unfinished.replace(target)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(file.etag)
    return received - begin


def _is_there(target: Path, mark: Path, file: RemoteFile) -> bool:
    return target.is_file() and target.stat().st_size == file.size and mark.is_file() and mark.read_text() == file.etag


def _parts(bucket: S3Store, file: RemoteFile, begin: int, pool: ThreadPoolExecutor) -> Iterator[Bytes]:
    """The parts from a byte on, in order, `AHEAD` of them under way; a single part without the pool."""
    if file.size - begin <= PART_BYTES:
        if begin < file.size:
            yield _part(bucket, file, begin, file.size)
        return
    under_way: deque[Future[Bytes]] = deque()
    for start in range(begin, file.size, PART_BYTES):
        if len(under_way) == AHEAD:
            yield under_way.popleft().result()
        under_way.append(pool.submit(_part, bucket, file, start, min(start + PART_BYTES, file.size)))
    while under_way:
        yield under_way.popleft().result()


def _part(bucket: S3Store, file: RemoteFile, start: int, end: int) -> Bytes:
    import obstore

    answer = obstore.get(bucket, file.key, options={"range": (start, end), "if_match": file.etag})
    part = answer.bytes()
    if len(part) != end - start:
        raise CutOffError(f"{file.key}: {len(part)} of {end - start} bytes")
    return part
