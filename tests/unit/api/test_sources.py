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


@pytest.mark.parametrize(
    ("source", "image", "path"),
    [
        ("oci://ghcr.io/org/llama:3.1", "ghcr.io/org/llama:3.1", "/images/ghcr.io/org/llama+3.1"),
        ("oci://host:5000/llama:a/models/x", "host:5000/llama:a", "/images/host+5000/llama+a/models/x"),
        (f"oci://host/l@sha256:{'a' * 64}/x", f"host/l@sha256:{'a' * 64}", f"/images/host/l=sha256+{'a' * 64}/x"),
    ],
)
def test_an_image_source_names_its_image_and_where_it_is_mounted(source: str, image: str, path: str) -> None:
    location = parse(source)
    assert (location.image, str(location.mounted_path)) == (image, path)


@pytest.mark.parametrize("source", ["oci://ghcr.io/org/llama", "oci://llama:1.0", "oci://host:5000/llama/models"])
def test_an_image_needs_registry_name_and_tag(source: str) -> None:
    with pytest.raises(ValueError, match="oci://registry/name:tag/path"):
        parse(source)


@pytest.mark.parametrize("source", ["data/x", "ftp://a/b", "/volumes/data/x"])
def test_an_unknown_scheme_is_refused_with_what_to_write(source: str) -> None:
    with pytest.raises(
        ValueError, match="write pvc://claim/path, hf://organisation/name, s3://bucket/prefix or oci://"
    ):
        parse(source)


def test_a_path_cannot_climb_out() -> None:
    with pytest.raises(ValueError, match="must not contain"):
        parse("pvc://data/../other/x")
