"""Jobs that only the pods can see to be wrong: Failed within seconds, with a sentence, and not retried."""

from __future__ import annotations

from typing import Any

import pytest

from support.dev_cluster import Team, example_job

ROW = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
DATASETS = {"empty.jsonl": "", "bad-row.jsonl": ROW + '{"prompt": "Hi"}\n', "no-json.jsonl": ROW + "Hi\n"}

CASES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "no-such-model": ({"model": {"source": "pvc://models/no-such-model"}}, "ModelInvalid", ["no-such-model"]),
    "no-such-dataset": ({"dataset": {"source": "pvc://data/nothing.jsonl"}}, "DatasetInvalid", ["nothing.jsonl"]),
    "empty-dataset": ({"dataset": {"source": "pvc://data/empty.jsonl"}}, "DatasetInvalid", ["empty.jsonl"]),
    "bad-row": ({"dataset": {"source": "pvc://data/bad-row.jsonl"}}, "DatasetInvalid", ["line 2", "messages"]),
    "no-json": ({"dataset": {"source": "pvc://data/no-json.jsonl"}}, "DatasetInvalid", ["line 2"]),
    "unknown-target": ({"adapter": {"targets": "q_proj,w_pack"}}, "UserError", ["w_pack", "v_proj"]),
}


@pytest.fixture(scope="module")
def failed(team: Team) -> dict[str, dict[str, Any]]:
    """All bad jobs at once; the status in which each ended."""
    for name, text in DATASETS.items():
        team.write_file("data", name, text)
    for name, (spec, _, _) in CASES.items():
        team.apply(example_job(name, **spec, output={"destination": f"pvc://results/{name}"}))
    return {name: team.wait_for_phase(name, "Failed", timeout=300) for name in CASES}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CASES)
def test_a_bad_job_fails_with_reason_and_sentence(failed: dict[str, dict[str, Any]], name: str) -> None:
    _, reason, words = CASES[name]
    (condition,) = [c for c in failed[name]["conditions"] if c["type"] == "Failed"]
    assert condition["reason"] == reason
    for word in words:
        assert word in condition["message"]


@pytest.mark.parametrize("name", CASES)
def test_a_bad_job_is_not_retried(team: Team, failed: dict[str, dict[str, Any]], name: str) -> None:
    assert len(failed[name]["attempts"]) == 1
    assert failed[name]["restarts"] == 0
