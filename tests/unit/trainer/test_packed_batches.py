"""A packed batch teaches what its documents teach one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qlora_api.reasons import Reason
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.isolation import check_isolation, leakage
from qlora_trainer.rank.likelihood import IGNORED
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.order import Mix
from qlora_trainer.rank.packing import Packing, one_a_sequence, pack
from unit.trainer.small_models import COUNTS_ITS_OWN_POSITIONS, FAMILIES, HAS_RECURRENT_LAYERS, build

LENGTHS = np.array([5, 17, 1, 9, 23, 2, 12, 8])


def dataset(packing: Packing, lengths: np.ndarray = LENGTHS, is_packed: bool = True) -> Dataset:
    generator = torch.Generator().manual_seed(1)
    total = int(lengths.sum())
    ids = torch.randint(3, 128, (total,), generator=generator, dtype=torch.int32)
    learned = torch.rand(total, generator=generator) < 0.6
    offsets = torch.tensor([0, *np.cumsum(lengths).tolist()])
    learned[offsets[:-1]] = False
    targets = np.array([int(part.sum()) for part in torch.tensor_split(learned, offsets[1:-1])])
    return Dataset(
        ids=ids,
        learned=learned,
        offsets=offsets,
        members=torch.from_numpy(packing.members),
        begins=torch.from_numpy(packing.begins),
        targets=torch.from_numpy(packing.sums(targets)),
        lengths=torch.from_numpy(packing.sums(lengths)),
        mix=Mix((len(packing.begins) - 1,), (1.0,)),
        is_packed=is_packed,
        sha256="",
    )


def loss_and_gradient(model: Any, data: Dataset, micro_batch_size: int) -> tuple[float, torch.Tensor]:
    """As in the loop: the mean over all learned tokens of the batch, whatever its portions."""
    model.zero_grad()
    learned = int(data.targets.sum())
    loss = 0.0
    for begin in range(0, len(data), micro_batch_size):
        portion = list(range(begin, min(begin + micro_batch_size, len(data))))
        part = loss_sum(model, collate(data, portion)) / learned
        part.backward()
        loss += part.item()
    return loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_are_those_of_the_documents_one_by_one(family: str) -> None:
    model = build(family)
    packing = pack(LENGTHS, 32, seed=3)
    assert 2 <= len(packing.begins) - 1 <= 4
    alone = loss_and_gradient(model, dataset(one_a_sequence(len(LENGTHS)), is_packed=False), 1)
    for micro_batch_size in (1, 3):
        packed = loss_and_gradient(model, dataset(packing), micro_batch_size)
        assert packed[0] == pytest.approx(alone[0], abs=1e-5)
        assert float((packed[1] - alone[1]).abs().max()) < 1e-5
    assert float(alone[1].abs().max()) > 1e-3, "there is something to compare"


@pytest.mark.parametrize("family", FAMILIES)
def test_another_first_document_changes_no_logit_of_the_second(family: str) -> None:
    model = build(family)
    data = dataset(pack(LENGTHS, 128, seed=0))
    batch = collate(data, [0])
    assert batch.position_ids is not None
    end = int((batch.position_ids[0] == 0).nonzero()[1])
    changed = batch.input_ids.clone()
    changed[0, :end] = (changed[0, :end] + 1) % 128

    def logits(ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = model(input_ids=ids, position_ids=batch.position_ids, use_cache=False).logits[0]
        return result

    before, after = logits(batch.input_ids), logits(changed)
    assert torch.equal(before[end:], after[end:])
    assert not torch.allclose(before[:end], after[:end])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_keeps_documents_apart_is_accepted(family: str) -> None:
    model = build(family).train()
    assert leakage(model) < 1e-4
    check_isolation(model, "pvc://models/tiny")
    assert model.training


@pytest.mark.parametrize(
    ("family", "config"), [("opt", COUNTS_ITS_OWN_POSITIONS), ("qwen3_next", HAS_RECURRENT_LAYERS)]
)
def test_a_model_that_mixes_documents_is_refused(family: str, config: dict[str, Any]) -> None:
    with pytest.raises(TrainerError, match=r"training\.packing: .*write packing: false") as error:
        check_isolation(build(family, config), "pvc://models/tiny")
    assert error.value.reason == Reason.USER_ERROR


def test_a_model_without_position_ids_is_refused() -> None:
    model = build("llama")
    forward = model.forward
    model.forward = lambda input_ids, use_cache: forward(input_ids=input_ids, use_cache=use_cache)
    with pytest.raises(TrainerError, match=r"position_ids.*write packing: false"):
        check_isolation(model, "pvc://models/tiny")


def test_positions_begin_anew_in_each_document_and_in_the_padding() -> None:
    packing = Packing(np.array([0, 1, 2]), np.array([0, 2, 3]))
    data = dataset(packing, np.array([3, 2, 2]))
    batch = collate(data, [0, 1])
    assert batch.attention_mask is None
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
    assert batch.input_ids[1, 2:].tolist() == [0, 0, 0]


def test_nothing_is_predicted_across_a_boundary_or_in_the_padding() -> None:
    packing = Packing(np.array([0, 1, 2]), np.array([0, 2, 3]))
    data = dataset(packing, np.array([3, 2, 2]))
    data.learned[:] = True
    data.learned[data.offsets[:-1]] = False
    labels = collate(data, [0, 1]).labels
    ids = data.ids.tolist()
    assert labels.tolist() == [[ids[1], ids[2], IGNORED, ids[4], IGNORED], [ids[6], *[IGNORED] * 4]]
