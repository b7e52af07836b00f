"""Digests of the model's files, computed beside the training: reading a large model once more takes minutes."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

_PATTERNS = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
"""What a model consists of."""


class FileDigests:
    """The SHA-256 of each file of a model's folder.

    Args:
        folder: the model's.
    """

    def __init__(self, folder: Path) -> None:
        self._files = sorted({file for pattern in _PATTERNS for file in folder.glob(pattern)})
        self._found: dict[str, str] = {}
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._read_all, daemon=True, name="digests")
        self._thread.start()

    def result(self) -> dict[str, str]:
        """Hexadecimal digest by file name; waits until all are known.

        Raises:
            OSError: a file cannot be read any more.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found

    def _read_all(self) -> None:
        try:
            for file in self._files:
                with file.open("rb") as stream:
                    self._found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            self._error = error
