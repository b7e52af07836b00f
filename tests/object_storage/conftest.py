"""One S3 server for all tests of the folder; each test has a bucket, and a way to it, of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from obstore.store import S3Store

from qlora_api import names
from qlora_api.spec import ObjectStorageSpec
from qlora_trainer.object_storage import bucket
from support.faulty_way import FaultyWay
from support.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore

_numbers = itertools.count(1)


@dataclass
class Place:
    """A bucket as its owner sees it, and as the trainer reaches it."""

    name: str
    owner: S3Store
    way: FaultyWay

    @property
    def storage(self) -> ObjectStorageSpec:
        return ObjectStorageSpec(endpoint=self.way.endpoint, credentials_secret="a-secret")


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    store = ObjectStore(tmp_path_factory.mktemp("object-store"))
    yield store
    store.stop()


@pytest.fixture
def place(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv(names.ACCESS_KEY_VARIABLE, ACCESS_KEY)
    monkeypatch.setenv(names.SECRET_KEY_VARIABLE, SECRET_KEY)
    monkeypatch.delenv(names.SESSION_TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr(bucket, "RETRIES", {**bucket.RETRIES, "max_retries": 3, "retry_timeout": timedelta(seconds=20)})
    name = f"bucket-{next(_numbers)}"
    place = Place(name, object_store.new_bucket(name), FaultyWay(object_store.endpoint))
    yield place
    place.way.close()
