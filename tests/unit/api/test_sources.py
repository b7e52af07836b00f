from __future__ import annotations

import pytest

from qlora_api.sources import parse


def test_a_volume_source_names_its_claim_and_where_it_is_mounted() -> None:
    location = parse("pvc://data/chat/train.jsonl")
    assert location.claim == "data"
    assert str(location.mounted_path) == "/volumes/data/chat/train.jsonl"


def test_a_hub_source_needs_no_claim() -> None:
    location = parse("hf://org/name")
    assert (location.scheme, location.root, location.path, location.claim) == ("hf", "org", "name", None)


def test_an_object_source_names_its_bucket_and_prefix() -> None:
    location = parse("s3://bucket/chat/train/")
    assert (location.bucket, location.path, location.claim) == ("bucket", "chat/train", None)
    assert parse("s3://bucket").path == ""


@pytest.mark.parametrize("source", ["data/x", "ftp://a/b", "/volumes/data/x"])
def test_an_unknown_scheme_is_refused_with_what_to_write(source: str) -> None:
    with pytest.raises(ValueError, match="write pvc://claim/path, hf://organisation/name or s3://bucket/prefix"):
        parse(source)


def test_a_path_cannot_climb_out() -> None:
    with pytest.raises(ValueError, match="must not contain"):
        parse("pvc://data/../other/x")
