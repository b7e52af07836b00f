"""One small object that changes only by compare-and-swap: a write that does not know the last one is refused.

That is what conditional writes are for (If-None-Match and If-Match, which AWS S3 and most others have).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qlora_trainer.object_storage.fault import Fault, fault_of

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import S3Store

_TRIES = 5
_PAUSE_SECONDS = 1.0


class Register:
    """The object, and the version of it that this process has read or written last."""

    def __init__(self, bucket: S3Store, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._etag: str | None = None

    def read(self) -> bytes | None:
        """The content now, which `swap` may replace from here on; None if there is no such object.

        Raises:
            Exception: of the store; `fault.fault_of` says what it means.
        """
        content, self._etag = self._get()
        return content

    def peek(self) -> bytes | None:
        """The content now, without the right to replace it.

        Raises:
            Exception: of the store; `fault.fault_of` says what it means.
        """
        return self._get()[0]

    def swap(self, content: bytes) -> bool:
        """Writes, unless somebody else has written since this process last read or wrote.

        A write whose answer was lost is sent again, and then refused for the sake of itself; so what is there is looked
        at before the refusal is believed. No two processes may ever write the same content.

        Returns:
            Whether it was written.

        Raises:
            Exception: of the store; `fault.fault_of` says what it means.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        for tries_left in reversed(range(_TRIES)):
            try:
                self._etag = self._put(content)
            except (AlreadyExistsError, PreconditionError):
                there, etag = self._get()
                if there == content:
                    self._etag = etag
                return there == content
            except FileNotFoundError:
                if self._etag is None:
                    raise  # no bucket
                return False
            except Exception as error:  # the library does not repeat a conditional write by itself
                if fault_of(error) is not Fault.OTHER or tries_left == 0:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return True
        raise AssertionError("the last try returns or raises")

    def _get(self) -> tuple[bytes | None, str | None]:
        import obstore

        try:
            answer = obstore.get(self._bucket, self._key)
        except FileNotFoundError:
            return None, None
        return bytes(answer.bytes()), answer.meta["e_tag"]

    def _put(self, content: bytes) -> str | None:
        import obstore

        mode: PutMode = "create" if self._etag is None else {"e_tag": self._etag}
        return obstore.put(self._bucket, self._key, content, mode=mode)["e_tag"]
