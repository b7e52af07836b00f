"""Whether a prefix can be written to, and whether the store refuses writes as results need it."""

from __future__ import annotations

import uuid
from contextlib import suppress

from qlora_api import sources
from qlora_api.reasons import Reason
from qlora_api.spec import ObjectStorageSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.object_storage.bucket import open_bucket
from qlora_trainer.object_storage.fault import explain_output
from qlora_trainer.object_storage.register import Register


def check_prefix(destination: str, storage: ObjectStorageSpec | None) -> None:
    """Writes an object, tries twice to overwrite it as somebody who does not know it, and removes it.

    Raises:
        TrainerError: OutputNotWritable, RateLimited, or TrainerFailed if the store cannot be reached.
    """
    import obstore

    location = sources.parse(destination)
    bucket = open_bucket(location.root, storage)
    key = f"{location.path}/.probe.{uuid.uuid4().hex}"
    try:
        first, second, third = Register(bucket, key), Register(bucket, key), Register(bucket, key)
        assert first.swap(b"1"), "nobody else knows this key"
        creates = second.swap(b"2")
        third.read()
        assert first.swap(b"3") or creates
        updates = third.swap(b"4")
        with suppress(Exception):
            obstore.delete(bucket, key)
    except Exception as error:
        raise explain_output(error, destination) from error
    if creates or updates:
        raise TrainerError(
            Reason.OUTPUT_NOT_WRITABLE,
            f"output.destination {destination}: the store ignores "
            f"{'If-None-Match' if creates else 'If-Match'} on writes, so that pods of an older attempt could not be "
            "kept from overwriting; use a store with conditional writes, or a pvc:// destination",
        )
