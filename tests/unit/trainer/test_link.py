"""In which data type gradients travel, and who decides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qlora_api.estimate.trained import trained
from qlora_api.methods import STAGES
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.rank import link
from unit.trainer.pods import Gang, spec
from unit.trainer.ranks import run_worker

pytestmark = pytest.mark.timeout(600)

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each of two ranks has seen."""
    folder = tmp_path_factory.mktemp("link")
    outputs = [folder / f"rank-{rank}.json" for rank in range(2)]
    run_worker("link_worker.py", [[str(tiny_model), str(output)] for output in outputs])
    return [json.loads(output.read_text()) for output in outputs]


@pytest.mark.parametrize(("seconds", "dtype"), [(0.0, "float32"), (0.1, "float32"), (0.11, "bfloat16")])
def test_a_slow_link_carries_half_the_bytes(seconds: float, dtype: str) -> None:
    assert link.choice(seconds) == dtype


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_told_is_not_measured(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "agreed_seconds", lambda _: pytest.fail("measured"))
    job = Gang(tmp_path).new_pods(deepspeed={"communicationDtype": dtype})[0].job
    assert link.with_communication_dtype(job, 1000) is job


def test_a_large_adapter_is_measured_with_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(link, "LARGEST", 1000)
    seconds = iter([9.0, 0.3, 0.2])
    monkeypatch.setattr(link, "_added_up", lambda message: next(seconds) if len(message) == 1000 else 0.0)
    assert link.own_seconds(4000) == pytest.approx(0.8)


def test_a_rank_that_is_alone_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link.comm, "get_world_size", lambda: 1)
    monkeypatch.setattr(link.comm, "all_reduce", lambda _: pytest.fail("sent"))
    assert link.own_seconds(1000) == 0.0


@pytest.mark.parametrize(("dtype", "reduction"), [("float32", 4000), ("bfloat16", 6000), ("auto", 6000)])
def test_the_copy_that_travels_is_in_the_estimate(dtype: str, reduction: int) -> None:
    job = QLoRAJobSpec.model_validate(spec(deepspeed={"zeroStage": 0, "communicationDtype": dtype}))
    assert trained(1000, job, world_size=2, accumulation=1).reduction == reduction


@pytest.mark.slow
def test_the_link_is_measured(found: Found) -> None:
    assert all(rank["own"] > 0 for rank in found)


@pytest.mark.slow
def test_the_slowest_rank_decides_for_all(found: Found) -> None:
    assert [(rank["agreed"], rank["chosen"]) for rank in found] == [(3.0, "bfloat16")] * 2


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_gradients_travel_as_they_are_told_without_a_bf16_block(found: Found, stage: int) -> None:
    for rank in found:
        whole, half = rank[f"{stage} float32"]["sent"], rank[f"{stage} bfloat16"]["sent"]
        assert half == {"torch.bfloat16": whole["torch.float32"]}
        assert set(whole) == {"torch.float32"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_losses_stay_within_half_a_percent(found: Found, stage: int) -> None:
    for rank in found:
        whole, half = rank[f"{stage} float32"], rank[f"{stage} bfloat16"]
        assert whole["finite"]
        assert half["finite"]
        assert half["losses"] == pytest.approx(whole["losses"], rel=0.005)
        assert half["losses"] != whole["losses"], "nothing was rounded"
        assert half["losses"][-1] < half["losses"][0], "nothing was learned"


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_gradients_are_clipped_by_the_same_norm_at_each_stage(found: Found, stage: int) -> None:
    """Our own for ZeRO-0, 1 and 2, DeepSpeed's for ZeRO-3."""
    for rank in found:
        norms = rank[f"{stage} float32"]["norms"]
        assert norms == pytest.approx(rank["0 float32"]["norms"], rel=1e-4)
        assert max(norms) > 1, "nothing was clipped"
