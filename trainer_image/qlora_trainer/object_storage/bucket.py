"""Opens a bucket: with the credentials of this container, and with retries that back off."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from qlora_api import names
from qlora_api.spec import ObjectStorageSpec

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Config, S3Store

RETRIES: RetryConfig = {
    "max_retries": 15,
    "retry_timeout": timedelta(minutes=5),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=30), "base": 2},
}
"""Of one request, with jitter: after 429, 5xx, a connection that cannot be made, and one that breaks within a body."""
_TIMEOUT = timedelta(minutes=5)
"""Of one request with its body, which is a part of `download.PART_BYTES` at most."""


def open_bucket(bucket: str, storage: ObjectStorageSpec | None) -> S3Store:
    """The bucket of an `s3://` location; nothing is asked of the store yet.

    Args:
        bucket: its name.
        storage: `spec.objectStorage`; None for AWS S3 in its default region.
    """
    from obstore.store import S3Store

    storage = storage or ObjectStorageSpec()
    is_host_name = storage.endpoint is None and "." not in bucket  # a certificate covers one label
    config: S3Config = {"region": storage.region, "virtual_hosted_style_request": is_host_name}
    if storage.endpoint is not None:
        config["endpoint"] = storage.endpoint
    key = os.environ.get(names.ACCESS_KEY_VARIABLE)
    if key is None:
        config["skip_signature"] = True
    else:
        config["access_key_id"] = key
        config["secret_access_key"] = os.environ.get(names.SECRET_KEY_VARIABLE, "")
    token = os.environ.get(names.SESSION_TOKEN_VARIABLE)
    if token:
        config["session_token"] = token
    return S3Store(
        bucket,
        config=config,
        client_options={
            "allow_http": (storage.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=10),
            "timeout": _TIMEOUT,
        },
        retry_config=RETRIES,
    )
