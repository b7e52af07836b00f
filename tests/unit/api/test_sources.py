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


@pytest.mark.parametrize("source", ["data/x", "ftp://a/b", "/volumes/data/x"])
def test_an_unknown_scheme_is_refused_with_what_to_write(source: str) -> None:
    with pytest.raises(ValueError, match="write pvc://claim/path or hf://organisation/name"):
        parse(source)


def test_a_path_cannot_climb_out() -> None:
    with pytest.raises(ValueError, match="must not contain"):
        parse("pvc://data/../other/x")
