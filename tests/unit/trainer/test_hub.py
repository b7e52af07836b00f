"""Answers of the hub, told as reasons."""

from __future__ import annotations

import errno

import httpx
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from qlora_api.reasons import Reason
from qlora_trainer.fetch.hub import explain


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
