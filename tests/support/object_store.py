"""A real S3 server on loopback, with its objects in a folder; it ends with the test run."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from obstore.store import S3Store

from support.kubectl import BINARIES
from support.processes import Process, free_port, wait_until

ACCESS_KEY, SECRET_KEY = "tests", "secret-of-tests"


class ObjectStore:
    """Each folder below `buckets` is a bucket."""

    def __init__(self, folder: Path) -> None:
        self._buckets = folder / "buckets"
        self._buckets.mkdir()
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self._process = Process(
            [BINARIES / "versitygw", "--port", f"127.0.0.1:{port}", "--quiet", "posix", self._buckets],
            folder / "versitygw.log",
            {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
        )
        wait_until(f"{self.endpoint} answers", self._answers)

    def _answers(self) -> bool:
        assert self._process.alive(), self._process.tail()
        try:
            urllib.request.urlopen(self.endpoint, timeout=5).close()
        except urllib.error.HTTPError:  # it refuses strangers, so it is there
            return True
        return True

    def new_bucket(self, name: str) -> S3Store:
        """Makes a bucket and opens it as its owner."""
        (self._buckets / name).mkdir()
        return S3Store(
            name,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )

    def stop(self) -> None:
        self._process.kill()  # asked politely, it waits for the connections that clients keep
