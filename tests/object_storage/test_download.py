"""Models and datasets from a real S3 server, by a way on which everything can go wrong."""

from __future__ import annotations

import errno
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest

from object_storage.conftest import Place
from qlora_api import names
from qlora_api.reasons import Reason
from qlora_api.spec import ObjectStorageSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.object_storage import explain, fetch_from_object_storage
from qlora_trainer.object_storage import download
from qlora_trainer.object_storage.bucket import open_bucket
from support.faulty_way import Request, Times

PART = 1 << 20
WEIGHTS = os.urandom(5 * PART // 2)
MODEL = {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": WEIGHTS}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PART_BYTES", PART)


@pytest.fixture
def model(place: Place) -> str:
    for name, content in {**MODEL, "pytorch_model.bin": b"a pickle", "sub": b"", "sub/notes.txt": b"hello"}.items():
        if content:
            obstore.put(place.owner, f"models/tiny/{name}", content)
    return f"s3://{place.name}/models/tiny"


def fetch(place: Place, source: str, folder: Path, kind: str = "model", files: str | None = None) -> Path:
    return fetch_from_object_storage(source, kind, place.storage, folder, files)[0]


def failure(place: Place, source: str, folder: Path, kind: str = "model") -> TrainerError:
    with pytest.raises(TrainerError) as error:
        fetch(place, source, folder, kind)
    assert error.value.message.startswith(f"{kind}.source {source}: ")
    return error.value


def contents(folder: Path) -> dict[str, bytes]:
    """What a reader of the folder finds; hidden files are the downloader's own."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    paths = [path.relative_to(folder) for path in files]
    return {str(path): (folder / path).read_bytes() for path in paths if not any(p.startswith(".") for p in path.parts)}


def ranges(place: Place) -> list[str]:
    return [request.range for request in place.way.seen if request.path.endswith("safetensors")]


def test_a_model_is_downloaded_without_pickles(place: Place, model: str, tmp_path: Path) -> None:
    assert fetch(place, model + "/", tmp_path / "model") == tmp_path / "model"
    assert contents(tmp_path / "model") == {**MODEL, "sub/notes.txt": b"hello"}


def test_a_dataset_can_be_one_object_or_some_files_of_a_folder(place: Place, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.csv"):
        obstore.put(place.owner, f"data/{name}", name.encode())
    one = fetch(place, f"s3://{place.name}/data/b.jsonl", tmp_path / "one", "dataset")
    assert (one.name, one.read_bytes()) == ("b.jsonl", b"b.jsonl")
    some = fetch(place, f"s3://{place.name}/data", tmp_path / "some", "dataset", "*.jsonl")
    assert sorted(contents(some)) == ["a.jsonl", "b.jsonl"]
    assert sorted(contents(fetch(place, f"s3://{place.name}", tmp_path / "all", "dataset"))) == [
        "data/a.jsonl",
        "data/b.jsonl",
        "data/c.csv",
    ]


def test_many_small_files_are_downloaded_each_as_it_is(place: Place, tmp_path: Path) -> None:
    rows = {f"{number:03}.jsonl": f"{number}\n".encode() * number for number in range(60)}
    for name, content in rows.items():
        obstore.put(place.owner, f"data/{name}", content)
    place.way.trouble = Times("reset", 5)
    assert contents(fetch(place, f"s3://{place.name}/data", tmp_path, "dataset")) == rows


def test_one_small_file_that_fails_fails_the_download(place: Place, tmp_path: Path) -> None:
    for number in range(30):
        obstore.put(place.owner, f"data/{number:03}.jsonl", b"{}")
    place.way.trouble = lambda request: "throttle" if request.path.endswith("017.jsonl") else ""
    assert failure(place, f"s3://{place.name}/data", tmp_path, "dataset").reason == Reason.RATE_LIMITED
    assert "017.jsonl" not in contents(tmp_path)


def test_the_revision_changes_with_the_objects(place: Place, model: str, tmp_path: Path) -> None:
    def revision() -> str:
        return fetch_from_object_storage(model, "model", place.storage, tmp_path / "model")[1]

    first = revision()
    assert revision() == first
    obstore.put(place.owner, "models/tiny/config.json", b"[]")
    assert revision() != first
    assert (tmp_path / "model/config.json").read_bytes() == b"[]"


def test_what_is_there_is_not_downloaded_again(place: Place, model: str, tmp_path: Path) -> None:
    fetch(place, model, tmp_path / "model")
    place.way.seen.clear()
    fetch(place, model, tmp_path / "model")
    assert [request.method for request in place.way.seen] == ["GET"], "the listing alone"


def test_wrong_credentials_are_told(place: Place, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.SECRET_KEY_VARIABLE, "wrong")
    error = failure(place, model, tmp_path)
    assert error.reason == Reason.MODEL_ACCESS_DENIED
    assert "has refused the credentials" in error.message
    assert "403 SignatureDoesNotMatch" in error.message
    assert failure(place, model, tmp_path, "dataset").reason == Reason.DATASET_INVALID


def test_a_bucket_that_is_not_public_needs_a_secret(
    place: Place, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(names.ACCESS_KEY_VARIABLE)
    monkeypatch.delenv(names.SECRET_KEY_VARIABLE)
    storage = place.storage.model_copy(update={"credentials_secret": None})
    with pytest.raises(TrainerError, match=r"write objectStorage\.credentialsSecret \(403 AccessDenied\)") as error:
        fetch_from_object_storage(model, "model", storage, tmp_path)
    assert error.value.reason == Reason.MODEL_ACCESS_DENIED


def test_an_absent_bucket_and_an_absent_prefix_are_told_apart(place: Place, model: str, tmp_path: Path) -> None:
    bucket = failure(place, "s3://no-such-bucket/x", tmp_path)
    assert (bucket.reason, "no such bucket" in bucket.message) == (Reason.MODEL_INVALID, True)
    prefix = failure(place, f"s3://{place.name}/models/tin", tmp_path, "dataset")
    assert (prefix.reason, "there is nothing" in prefix.message) == (Reason.DATASET_INVALID, True)
    with pytest.raises(TrainerError, match=r"there is only notes\.txt; write the prefix"):
        fetch(place, model + "/sub", tmp_path, "dataset", "*.csv")
    assert contents(tmp_path) == {}


def test_throttling_is_waited_for(place: Place, model: str, tmp_path: Path) -> None:
    place.way.trouble = Times("throttle", 2)
    fetch(place, model, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS


def test_throttling_without_an_end_is_a_reason_to_try_later(place: Place, model: str, tmp_path: Path) -> None:
    place.way.trouble = lambda request: "throttle"
    error = failure(place, model, tmp_path)
    assert error.reason == Reason.RATE_LIMITED
    assert "(503 SlowDown)" in error.message


def test_a_broken_connection_goes_on_where_it_broke(place: Place, model: str, tmp_path: Path) -> None:
    place.way.trouble = Times("cut", 3, ending=".safetensors")
    fetch(place, model, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    begins = {int(text.removeprefix("bytes=").partition("-")[0]) for text in ranges(place)}
    assert begins - {0, PART, 2 * PART}, "nothing was asked for a second time from within a part"


def test_a_reset_connection_is_made_anew(place: Place, model: str, tmp_path: Path) -> None:
    place.way.trouble = Times("reset", 3, ending=".safetensors")
    fetch(place, model, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS


def test_the_next_try_goes_on_after_the_parts_that_are_there(
    place: Place, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "AHEAD", 1)
    place.way.trouble = lambda request: "throttle" if request.range.startswith(f"bytes={2 * PART}-") else ""
    assert failure(place, model, tmp_path).reason == Reason.RATE_LIMITED
    assert "model.safetensors" not in contents(tmp_path)
    place.way.trouble, place.way.seen = (lambda request: ""), []
    fetch(place, model, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    assert ranges(place) == [f"bytes={2 * PART}-{len(WEIGHTS) - 1}"]


def test_what_was_left_of_an_older_version_is_not_gone_on_with(
    place: Place, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "AHEAD", 1)
    place.way.trouble = lambda request: "throttle" if request.range.startswith(f"bytes={2 * PART}-") else ""
    failure(place, model, tmp_path)
    place.way.trouble = lambda request: ""
    newer = bytes(reversed(WEIGHTS))
    obstore.put(place.owner, "models/tiny/model.safetensors", newer)
    fetch(place, model, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == newer


def test_a_file_that_was_cut_off_on_its_way_is_not_taken_for_whole(place: Place, model: str, tmp_path: Path) -> None:
    place.way.trouble = lambda request: "shorten" if request.path.endswith("safetensors") else ""
    error = failure(place, model, tmp_path)
    assert error.reason == Reason.TRAINER_FAILED
    assert "of 1048576 bytes" in error.message
    assert "model.safetensors" not in contents(tmp_path)


def test_an_object_that_is_replaced_during_the_download_is_refused(place: Place, model: str, tmp_path: Path) -> None:
    def replace(request: Request) -> str:
        if request.path.endswith("safetensors"):
            obstore.put(place.owner, "models/tiny/model.safetensors", WEIGHTS[::-1])
        return ""

    place.way.trouble = replace
    error = failure(place, model, tmp_path)
    assert (error.reason, "was replaced during the download" in error.message) == (Reason.MODEL_INVALID, True)
    assert "model.safetensors" not in contents(tmp_path)


def test_a_store_that_cannot_be_reached_is_told(place: Place, model: str, tmp_path: Path) -> None:
    place.way.close()
    error = failure(place, model, tmp_path)
    assert error.reason == Reason.TRAINER_FAILED
    assert "the pods must reach the store" in error.message
    assert "Connection refused" in error.message


def test_a_store_whose_certificate_nobody_knows_is_told(place: Place, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    storage = place.storage.model_copy(update={"endpoint": f"https://127.0.0.1:{server.server_address[1]}"})
    with pytest.raises(TrainerError, match="signed by nobody that the trainer image knows") as error:
        fetch_from_object_storage("s3://bucket/x", "model", storage, tmp_path / "model")
    server.shutdown()
    server.server_close()
    assert error.value.reason == Reason.MODEL_INVALID


def test_folders_of_a_console_are_no_files(place: Place, tmp_path: Path) -> None:
    obstore.put(place.owner, "data/deep/rows.jsonl", b"{}")
    bucket = open_bucket(place.name, place.storage)
    (tmp_path / "marker").write_bytes(b"")
    assert [file.path for file in download.list_files(bucket, "data")] == ["deep/rows.jsonl"]


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Reason.DISK_FULL, "does not fit on the node's disk"),
        (Exception("status code: 301 Moved: <Code>PermanentRedirect</Code>"), Reason.MODEL_INVALID, "another region"),
        (Exception("status code: 400 Bad: <Code>ExpiredToken</Code>"), Reason.MODEL_ACCESS_DENIED, "refused"),
        (Exception("status code: 429 Too Many Requests"), Reason.RATE_LIMITED, "come back later"),
        (Exception("status code: 500 <Code>InternalError</Code>"), Reason.TRAINER_FAILED, "500 InternalError"),
    ],
)
def test_what_this_server_does_not_say_has_a_reason_too(error: Exception, reason: Reason, words: str) -> None:
    explained = explain(error, "s3://a-bucket/x", "model", ObjectStorageSpec(credentials_secret="a"))
    assert (explained.reason, words in explained.message) == (reason, True), explained.message
