"""What a download from object storage, and an upload, cost beside a copy of the same file on the same disk.

    make object-store && PYTHONPATH=tests:. .venv/bin/python benchmarks/object_storage.py [--megabytes 1024]

The S3 server runs on loopback and takes its share of the processor: read the ratio. Each measurement is a process of
its own, so that its peak memory is its own; they take turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import obstore

from qlora_api import names
from qlora_api.spec import ObjectStorageSpec
from support.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore

ROUNDS = 3
BUCKET = "bench"


class Figures(NamedTuple):
    seconds: float
    peak_megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the file")
    size = parser.parse_args().megabytes
    os.environ |= {names.ACCESS_KEY_VARIABLE: ACCESS_KEY, names.SECRET_KEY_VARIABLE: SECRET_KEY}
    with TemporaryDirectory() as folder:
        store = ObjectStore(Path(folder))
        try:
            owner = store.new_bucket(BUCKET)
            file = Path(folder) / "file"
            with file.open("wb") as stream:
                for _ in range(size):
                    stream.write(os.urandom(2**20))
            obstore.put(owner, "file", file)
            compare(Path(folder), file, ObjectStorageSpec(endpoint=store.endpoint, credentials_secret="s"), size)
        finally:
            store.stop()


def compare(folder: Path, file: Path, storage: ObjectStorageSpec, size: int) -> None:
    ways: dict[str, Callable[[], None]] = {
        "copy on the disk": partial(copy, file, folder / "copy"),
        "download": partial(download_file, storage, folder / "downloaded"),
        "upload": partial(upload, storage, file),
    }
    measured: dict[str, list[Figures]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            measured[name].append(in_a_process(way))
            for left in ("copy", "downloaded"):
                shutil.rmtree(folder / left, ignore_errors=True)
    floor = median(figures.seconds for figures in measured["copy on the disk"])
    print(f"{size} MiB, median of {ROUNDS}:")
    for name, all_figures in measured.items():
        seconds = median(figures.seconds for figures in all_figures)
        peak = max(figures.peak_megabytes for figures in all_figures)
        speed = size / seconds
        print(f"  {name:16} {seconds:6.2f} s {speed:6.0f} MiB/s {seconds / floor:5.2f} x  {peak:4.0f} MiB of memory")


def in_a_process(way: Callable[[], None]) -> Figures:
    context = multiprocessing.get_context("spawn")  # a fork would have the library's threads only half
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(way, sender))
    process.start()
    figures: Figures = receiver.recv()
    process.join()
    return figures


def run(way: Callable[[], None], sender: Connection) -> None:
    begin = time.monotonic()
    way()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send(Figures(time.monotonic() - begin, peak))


def copy(file: Path, folder: Path) -> None:
    folder.mkdir()
    with file.open("rb") as source, (folder / "file").open("wb") as target:
        while block := source.read(2**20):
            target.write(block)
        target.flush()
        os.fsync(target.fileno())


def download_file(storage: ObjectStorageSpec, folder: Path) -> None:
    from qlora_trainer.object_storage.bucket import open_bucket
    from qlora_trainer.object_storage.download import download, list_files

    bucket = open_bucket(BUCKET, storage)
    download(bucket, list_files(bucket, "file"), folder)


def upload(storage: ObjectStorageSpec, file: Path) -> None:
    from qlora_trainer.object_storage.bucket import open_bucket
    from qlora_trainer.object_storage.upload import upload_file

    upload_file(open_bucket(BUCKET, storage), file, "uploaded")


if __name__ == "__main__":
    main()
