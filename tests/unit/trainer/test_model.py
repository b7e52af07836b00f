"""The base in 4 bits, its adapter, and the loss."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.rank.data import Dataset
from qlora_trainer.rank.likelihood import IGNORED
from qlora_trainer.rank.loss import collate, loss_sum
from qlora_trainer.rank.model import disable_cpu_repacking, load_model
from qlora_trainer.rank.order import Mix
from unit.trainer.pods import spec

CPU = torch.device("cpu")


def load(folder: Path, **changes: Any) -> Any:
    return load_model(str(folder), QLoRAJobSpec.model_validate(spec(**changes)), CPU)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    lengths = [5, 9, 7]
    offsets = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
    learned = torch.tensor([number % 3 != 0 for length in lengths for number in range(length)])
    ids = torch.randint(0, 250, (sum(lengths),), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    targets = torch.tensor([int(learned[a:b].sum()) for a, b in itertools.pairwise(offsets)])
    numbers = torch.arange(4)
    return Dataset(
        ids, learned, offsets, numbers[:-1], numbers, targets, torch.tensor(lengths), Mix((3,), (1.0,)), False, ""
    )


def test_the_base_is_in_four_bits_and_the_adapter_in_float32(tiny_model: Path) -> None:
    model = load(tiny_model, quantization={"computeDtype": "bfloat16"})
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    assert type(layer.base_layer).__name__ == "Linear4bit"
    assert layer.base_layer.weight.dtype == torch.uint8
    assert layer.base_layer.weight.quant_state.nested
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert {value.dtype for value in trained.values()} == {torch.float32}
    assert all("lora_" in name for name in trained)
    assert model.base_model.model.lm_head.weight.dtype == torch.bfloat16


def test_trap_preparing_for_training_makes_the_base_larger(tiny_model: Path) -> None:
    """17: PEFT's usual preparation turns every weight that is not quantised into float32."""
    model = load(tiny_model, quantization={"computeDtype": "bfloat16"})
    frozen = {value.dtype for value in model.parameters() if not value.requires_grad}
    assert frozen == {torch.uint8, torch.bfloat16}


@pytest.mark.parametrize("storage", ["uint8", "bfloat16", "float32"])
def test_four_bits_are_the_same_in_tensors_of_any_type(tiny_model: Path, storage: str) -> None:
    model = load(tiny_model, quantization={"storageDtype": storage})
    weight = model.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight
    assert str(weight.dtype) == f"torch.{storage}"
    assert weight.numel() * weight.element_size() == 128 * 64 // 2
    plain = load(tiny_model).eval()
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(model.eval()(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_an_evaluation_does_not_spoil_the_gradients(tiny_model: Path, rows: Dataset) -> None:
    """On CPUs with AVX512-BF16, bitsandbytes repacks 4-bit weights at the first forward pass in eval mode."""
    model = load(tiny_model, quantization={"computeDtype": "bfloat16"})
    layers = [module for module in model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    assert len(layers) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    layers[0].support_avx512bf16_for_cpu = True  # as on such a CPU
    disable_cpu_repacking(model)
    assert not layers[0].support_avx512bf16_for_cpu

    def gradients() -> torch.Tensor:
        model.zero_grad()
        loss_sum(model, collate(rows, [0, 1])).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.tensor([[1, 2, 3]]))
    model.train()
    assert torch.equal(before, gradients())


def test_checkpointing_activations_changes_no_gradient(tiny_model: Path, rows: Dataset) -> None:
    def gradients(checkpointing: bool) -> torch.Tensor:
        model = load(tiny_model, training={"gradientCheckpointing": checkpointing}, adapter={"dropout": 0.3})
        torch.manual_seed(3)
        loss_sum(model, collate(rows, [0, 1, 2])).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    plain = gradients(False)
    assert plain.abs().sum() > 0
    assert torch.allclose(plain, gradients(True), atol=1e-6)


def test_the_loss_is_that_of_transformers_on_the_learned_tokens(tiny_model: Path, rows: Dataset) -> None:
    model = load(tiny_model, quantization={"type": "none"})
    total = 0.0
    for number in range(len(rows)):
        ((ids, learned),) = rows.sequence(number)
        labels = torch.where(learned, ids.long(), IGNORED)[None]
        mean = model(input_ids=ids.long()[None], labels=labels).loss
        total += mean.item() * int(learned[1:].sum())
    alone = sum(loss_sum(model, collate(rows, [number])).item() for number in range(len(rows)))
    together = loss_sum(model, collate(rows, [0, 1, 2])).item()
    assert alone == pytest.approx(total, rel=1e-5)
    assert together == pytest.approx(total, rel=1e-5)


def test_the_seed_decides_the_adapter(tiny_model: Path) -> None:
    def first(seed: int) -> torch.Tensor:
        model = load(tiny_model, training={"seed": seed})
        return next(p for p in model.parameters() if p.requires_grad)

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_model_that_transformers_does_not_know_is_the_users_to_mend(tmp_path: Path) -> None:
    from qlora_trainer.errors import TrainerError

    (tmp_path / "config.json").write_text('{"model_type": "made-up"}')
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(TrainerError, match=r"model.source pvc://models/tiny: .*made-up") as error:
        load(tmp_path)
    assert error.value.reason == "ModelInvalid"
