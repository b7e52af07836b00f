"""What follows a portion that is too large for a GPU."""

from __future__ import annotations

from typing import Any

import pytest

from qlora_api.portion import Portion, smaller
from qlora_api.spec import QLoRAJobSpec

SPEC = {
    "model": {"source": "pvc://models/tiny"},
    "dataset": {"source": "pvc://data/train.jsonl"},
    "output": {"destination": "pvc://results/out"},
}


def job(nodes: int = 1, adapter: dict[str, Any] | None = None, **training: Any) -> QLoRAJobSpec:
    return QLoRAJobSpec.model_validate({**SPEC, "nodes": nodes, "training": training, "adapter": adapter or {}})


def ladder(spec: QLoRAJobSpec, size: int, checkpointing: bool) -> list[tuple[int, bool]]:
    portion: Portion | None = Portion(micro_batch_size=size, gradient_checkpointing=checkpointing)
    found = []
    while (portion := smaller(spec, portion)) is not None:
        found.append((portion.micro_batch_size, portion.gradient_checkpointing))
    return found


def test_the_micro_batch_is_halved_down_to_one() -> None:
    assert ladder(job(globalBatchSize=16), 8, True) == [(4, True), (2, True), (1, True)]


@pytest.mark.parametrize(
    ("nodes", "batch", "size", "sizes"),
    [(1, 12, 12, [6, 3, 1]), (1, 10, 10, [5, 2, 1]), (2, 14, 7, [1]), (3, 45, 15, [5, 1]), (1, 7, 1024, [7, 1])],
)
def test_each_micro_batch_divides_the_share_of_a_rank(nodes: int, batch: int, size: int, sizes: list[int]) -> None:
    assert [found for found, _ in ladder(job(nodes, globalBatchSize=batch), size, True)] == sizes


def test_after_one_sequence_checkpointing_comes_on_where_the_trainer_has_left_it_out() -> None:
    assert ladder(job(fit="auto"), 2, False) == [(1, False), (1, True)]


def test_a_wish_for_no_checkpointing_is_kept() -> None:
    assert ladder(job(gradientCheckpointing=False), 2, False) == [(1, False)]


def test_a_method_without_checkpointing_does_not_get_it() -> None:
    assert ladder(job(fit="auto", adapter={"method": "prefix-tuning"}), 1, False) == []
