from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qlora_operator.merge_patch import merge_patch

Json = dict[str, Any]
SCALARS = st.none() | st.integers(0, 3) | st.text("ab", max_size=2)
OBJECTS = st.dictionaries(
    st.sampled_from("xyz"),
    st.recursive(SCALARS, lambda inner: st.dictionaries(st.sampled_from("xyz"), inner)),
    max_size=3,
)


def without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    return value


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, word by word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(OBJECTS.map(without_null), OBJECTS.map(without_null))
def test_the_patch_merged_into_before_gives_after(before: Json, after: Json) -> None:
    assert merged(before, merge_patch(before, after)) == after


@given(OBJECTS.map(without_null))
def test_equal_objects_need_no_patch(value: Json) -> None:
    assert merge_patch(value, value) == {}


def test_only_what_differs_is_sent() -> None:
    before = {"phase": "Running", "progress": {"step": 1, "eta": "9s"}}
    after = {"phase": "Running", "progress": {"step": 2}}
    assert merge_patch(before, after) == {"progress": {"step": 2, "eta": None}}
