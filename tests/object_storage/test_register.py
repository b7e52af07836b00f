"""Compare-and-swap on a real S3 server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import obstore
import pytest

from object_storage.conftest import Place
from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.object_storage.bucket import open_bucket
from qlora_trainer.object_storage.probe import check_prefix
from qlora_trainer.object_storage.register import Register
from support.faulty_way import Times


def register(place: Place) -> Register:
    return Register(open_bucket(place.name, place.storage), "out/attempt.json")


def signed(place: Place, path: str) -> str:
    """The path of a write that is signed without its conditions."""
    key = path.partition("?")[0].removeprefix(f"/{place.name}/")
    address = urlsplit(obstore.sign(place.owner, "PUT", key, timedelta(minutes=5)))
    return f"{address.path}?{address.query}"


def test_only_the_first_writer_makes_the_object(place: Place) -> None:
    first, second = register(place), register(place)
    assert (first.read(), second.read()) == (None, None)
    assert first.swap(b"first")
    assert not second.swap(b"second")
    assert register(place).read() == b"first"


def test_a_writer_that_does_not_know_the_last_write_is_refused(place: Place) -> None:
    old, new = register(place), register(place)
    assert old.swap(b"1")
    assert new.read() == b"1"
    assert new.swap(b"2")
    assert new.swap(b"3"), "its own writes it knows"
    assert not old.swap(b"late")
    assert register(place).read() == b"3"


def test_a_refused_writer_stays_refused_until_it_reads(place: Place) -> None:
    old, new = register(place), register(place)
    assert old.swap(b"1")
    new.read()
    assert new.swap(b"2")
    assert not old.swap(b"3")
    assert old.peek() == b"2"
    assert not old.swap(b"4")
    assert old.read() == b"2"
    assert old.swap(b"5")


def test_an_object_that_somebody_has_deleted_is_not_made_again(place: Place) -> None:
    writer = register(place)
    assert writer.swap(b"1")
    obstore.delete(place.owner, "out/attempt.json")
    assert not writer.swap(b"2")
    assert writer.peek() is None


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_write_whose_answer_was_lost_counts_as_written(place: Place, before: bytes | None) -> None:
    writer = register(place)
    if before is not None:
        writer.swap(before)
    place.way.trouble = Times("lose", 1, method="PUT")
    assert writer.swap(b"after")
    assert register(place).read() == b"after"
    assert writer.swap(b"and on")


def test_of_many_writers_one_wins(place: Place) -> None:
    writers = [register(place) for _ in range(8)]
    for writer in writers:
        writer.read()
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda pair: pair[1].swap(str(pair[0]).encode()), enumerate(writers)))
    assert sum(written) == 1
    assert register(place).read() == str(written.index(True)).encode()


def test_a_prefix_that_can_be_written_leaves_nothing_behind(place: Place) -> None:
    check_prefix(f"s3://{place.name}/out", place.storage)
    assert [list(page) for page in obstore.list(place.owner)] == []


def test_a_store_that_ignores_conditions_is_refused(place: Place) -> None:
    place.way.without_conditions = lambda path: signed(place, path)
    with pytest.raises(TrainerError, match="the store ignores If-None-Match on writes") as error:
        check_prefix(f"s3://{place.name}/out", place.storage)
    assert error.value.reason == Reason.OUTPUT_NOT_WRITABLE


def test_a_bucket_that_is_not_there_is_not_writable(place: Place) -> None:
    with pytest.raises(TrainerError, match="no such bucket") as error:
        check_prefix("s3://no-such-bucket/out", place.storage)
    assert error.value.reason == Reason.OUTPUT_NOT_WRITABLE
