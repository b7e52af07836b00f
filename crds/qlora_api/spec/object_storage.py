"""`spec.objectStorage`: the store behind the `s3://` locations of a job."""

from __future__ import annotations

from typing import Annotated

from qlora_api.base import ApiModel, matching
from qlora_api.spec.texts import ObjectName

Endpoint = Annotated[
    str,
    matching(
        r"^https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$",
        "write an address without a path, such as https://minio.example.com:9000",
        253,
    ),
]
Region = Annotated[str, matching(r"^[A-Za-z0-9][A-Za-z0-9-]*$", "write a region such as eu-central-1", 63)]


class ObjectStorageSpec(ApiModel):
    """The store behind the s3:// locations of this job: AWS S3, or one that speaks its protocol."""

    endpoint: Endpoint | None = None
    """Address of the store, such as https://minio.example.com:9000; buckets are part of the path. Default: AWS S3 in
    region."""
    region: Region = "us-east-1"
    """Region of the buckets. Stores other than AWS S3 mostly ignore it."""
    credentials_secret: ObjectName | None = None
    """Secret of this namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if the
    store asks for it. Default: none; requests are not signed, as public buckets allow."""
