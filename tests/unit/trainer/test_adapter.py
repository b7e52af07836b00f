"""Adapters of every method: what is saved is what was trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qlora_api.methods import FROM_WEIGHTS, METHODS
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.rank.adapter import feed_forward_ends
from qlora_trainer.rank.export import save_adapter
from qlora_trainer.rank.initial import adapted, as_plain, start_of
from qlora_trainer.rank.model import load_base, load_model
from unit.trainer.pods import spec

CPU = torch.device("cpu")
SIZES: dict[str, dict[str, Any]] = {
    "vera": {"rank": 8}, "oft": {"blockSize": 8}, "ia3": {}, "prefix-tuning": {}, "prompt-tuning": {}, "p-tuning": {},
}  # fmt: skip
IDS = torch.randint(0, 250, (2, 11), generator=torch.Generator().manual_seed(5))


def job(method: str, quantization: str = "nf4", **adapter: Any) -> QLoRAJobSpec:
    return QLoRAJobSpec.model_validate(
        spec(
            quantization={"type": quantization},
            adapter={"rank": None, "method": method, **SIZES.get(method, {"rank": 4}), **adapter},
            training={"gradientCheckpointing": False},
        )
    )


def train_a_little(model: Any) -> None:
    """Moves every trained parameter."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        output: torch.Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    return output[:, -IDS.shape[1] :]


def save(model: Any, folder: Path) -> None:
    save_adapter(SimpleNamespace(module=model, zero_optimization_stage=lambda: 0), {}, folder)


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method in METHODS if method != "loftq"])
def test_what_is_saved_does_in_peft_what_was_trained(method: str, tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    job_spec = job(method, "none")
    model = load_model(str(tiny_model), job_spec, CPU)
    train_a_little(model)
    trained = logits(model)
    plain = logits(load_base(str(tiny_model), job_spec, CPU))
    assert (trained - plain).abs().max() > 1e-3

    save(model, tmp_path)
    loaded = PeftModel.from_pretrained(load_base(str(tiny_model), job_spec, CPU), tmp_path)
    assert torch.allclose(logits(loaded), trained, atol=2e-5)


@pytest.mark.parametrize("method", FROM_WEIGHTS)
@pytest.mark.parametrize("quantization", ["nf4", "fp4", "int8"])
def test_what_begins_from_the_weights_begins_closer_to_the_model(
    method: str, quantization: str, tiny_model: Path
) -> None:
    """LoftQ makes up for a part of what quantisation has lost; PiSSA and OLoRA quantise a smaller rest."""
    job_spec = job(method, quantization, rank=16, alpha=8)
    original = load_base(str(tiny_model), job("lora", "none"), CPU).state_dict()
    plain = load_base(str(tiny_model), job_spec, CPU)
    model = load_model(str(tiny_model), job_spec, CPU)
    for name, module in adapted(model):
        weight = original[f"{name}.weight"]
        begun = _dequantised(module.get_base_layer()) + module.get_delta_weight("default")
        before = (_dequantised(plain.get_submodule(name)) - weight).norm()
        assert (begun - weight).norm() < (before if method == "loftq" else 1.5 * before), name


def _dequantised(layer: Any) -> torch.Tensor:
    from peft.utils.integrations import dequantize_module_weight

    return dequantize_module_weight(layer).float()


def test_the_change_as_a_plain_adapter_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    a0, a = torch.randn(2, 3, 6, generator=generator)
    b0, b = torch.randn(2, 5, 3, generator=generator)
    new_a, new_b = as_plain("layer", a, b, {"layer": (a0, b0)})
    assert torch.allclose(new_b @ new_a, b @ a - b0 @ a0, atol=1e-5)


def test_pissa_takes_the_largest_singular_values() -> None:
    weight = torch.randn(12, 10, generator=torch.Generator().manual_seed(0))
    start = start_of("pissa", weight, weight, rank=3, scale=2.0)
    assert start.rest is not None
    assert torch.linalg.svdvals(start.rest)[:7] == pytest.approx(torch.linalg.svdvals(weight)[3:], rel=1e-4)
    assert torch.allclose(start.rest + 2.0 * start.b @ start.a, weight, atol=1e-5)


def test_a_rank_that_a_weight_does_not_have_is_named(tiny_model: Path) -> None:
    with pytest.raises(
        TrainerError, match=r"adapter.rank: 64 is more than .*k_proj.*write at most 32, or method: lora"
    ):
        load_model(str(tiny_model), job("pissa", rank=64, targets="k_proj"), CPU)


@pytest.mark.parametrize("method", ["lora", "prompt-tuning", "p-tuning", "prefix-tuning"])
def test_the_loss_is_of_the_text_and_not_of_the_vectors_before_it(method: str, tiny_model: Path) -> None:
    model = load_model(str(tiny_model), job(method, "none"), CPU)
    whole = logits(model)
    kept = torch.tensor([0, 4, 10])
    model.train()
    some = model(input_ids=IDS, attention_mask=torch.ones_like(IDS), logits_to_keep=kept, use_cache=False).logits
    assert torch.allclose(some, whole[:, kept], atol=1e-5)


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
@pytest.mark.parametrize("method", ["ia3", "vera", "oft", "lora", "adalora", "dora"])
def test_an_adapter_in_float32_hands_on_the_type_of_a_base_in_bfloat16(
    method: str, quantization: str, tiny_model: Path
) -> None:
    """IA3 on a quantised base and AdaLoRA on 8 bits fail in the next matrix product if they are left alone."""
    job_spec = job(method, quantization)
    data = job_spec.model_dump()
    data["quantization"]["compute_dtype"] = "bfloat16"
    model = load_model(str(tiny_model), QLoRAJobSpec.model_validate(data), CPU)
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


def test_ia3_scales_what_goes_into_the_end_of_a_feed_forward_block() -> None:
    assert feed_forward_ends(["k_proj", "mlp.down_proj", "fc2"]) == ["mlp.down_proj", "fc2"]


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_tokens_and_whole_modules_are_trained_beside_lora(quantization: str, tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    job_spec = job("lora", quantization, trainableTokens=["<|im_start|>"], modulesToSave="norm")
    model = load_model(str(tiny_model), job_spec, CPU)
    model(input_ids=torch.tensor([[257, 1, 2, 256]]), labels=torch.tensor([[257, 1, 2, 256]])).loss.backward()
    trained = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is not None]
    assert any("trainable_tokens" in name for name in trained)
    assert any(name.endswith("norm.modules_to_save.default.weight") for name in trained)
    save(model, tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert any(name.endswith("model.norm.weight") for name in saved)
    assert [value.shape for name, value in saved.items() if "token" in name] == [(1, 64)]
