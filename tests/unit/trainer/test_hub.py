"""Answers of the hub, told as reasons."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import filter_repo_objects

from qlora_api.reasons import Reason
from qlora_trainer.fetch.hub import explain
from qlora_trainer.fetch.wanted import wanted
from unit.trainer.fake_hub import COMMIT, FakeHub


def answer(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    request = httpx.Request("GET", "https://hub.example/api")
    return kind("no", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (answer(GatedRepoError, 403), Reason.MODEL_ACCESS_DENIED, "licence"),
        (answer(RepositoryNotFoundError, 401), Reason.MODEL_ACCESS_DENIED, "not open to this token"),
        (answer(RevisionNotFoundError, 404), Reason.MODEL_INVALID, "has no revision abc"),
        (answer(HfHubHTTPError, 429), Reason.RATE_LIMITED, "too many requests"),
        (OSError(errno.ENOSPC, "No space left on device"), Reason.DISK_FULL, "does not fit"),
        (ConnectionError("no route"), Reason.TRAINER_FAILED, "must reach the hub"),
    ],
)
def test_a_failed_download_has_a_reason(error: Exception, reason: Reason, words: str) -> None:
    explained = explain(error, "hf://org/name", "model", "abc")
    assert explained.reason == reason
    assert explained.message.startswith("model.source hf://org/name: ")
    assert words in explained.message


@pytest.mark.parametrize(
    ("files", "downloaded"),
    [
        (None, ["data/train-0.parquet", "data/test-0.parquet", "train-0.parquet"]),
        ("train-*.parquet", ["data/train-0.parquet", "train-0.parquet"]),
        ("data/train-*.parquet", ["data/train-0.parquet"]),
    ],
)
def test_only_the_files_of_a_dataset_that_are_asked_for_are_downloaded(
    files: str | None, downloaded: list[str]
) -> None:
    there = ["README.md", "data/train-0.parquet", "data/test-0.parquet", "train-0.parquet", "model.bin"]
    assert list(filter_repo_objects(there, allow_patterns=wanted("dataset", files))) == downloaded


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("weights")
    (folder / "pytorch_model.bin").write_text("a pickle")
    hub = FakeHub(folder, token="secret")
    yield hub
    hub.close()


def fetch(hub: FakeHub, source: str, folder: Path, **variables: str) -> str:
    """What `fetch_from_hub` returns or raises, in a process of its own: the hub's address is read at import."""
    code = (
        "import sys; from pathlib import Path; from qlora_trainer.errors import TrainerError;"
        "from qlora_trainer.fetch.hub import fetch_from_hub\n"
        f"try: print(fetch_from_hub({source!r}, 'model', None, Path({str(folder)!r}))[1])\n"
        "except TrainerError as error: print(error.reason, error.message)"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = {**clean, "HF_ENDPOINT": hub.address, "HF_HOME": str(folder.parent / "home"), **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_a_model_is_downloaded_at_one_commit_and_without_pickles(hub: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "work/model"
    assert fetch(hub, "hf://org/name", folder, HF_TOKEN="secret") == COMMIT
    assert sorted(file.name for file in folder.iterdir() if file.is_file()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_text() == "weights"
    files = [line for line in hub.asked if "/resolve/" in line]
    assert files
    assert all(f"/resolve/{COMMIT}/" in line for line in files)


@pytest.mark.parametrize(("source", "token"), [("hf://org/name", {}), ("hf://org/other", {"HF_TOKEN": "secret"})])
def test_a_repository_that_is_not_open_is_told_by_reason(
    hub: FakeHub, tmp_path: Path, source: str, token: dict[str, str]
) -> None:
    assert fetch(hub, source, tmp_path / "model", **token).startswith(f"ModelAccessDenied model.source {source}: ")
