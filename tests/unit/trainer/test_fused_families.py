"""Both fast ways beside transformers' own: loss and the gradient of every LoRA, for models with real fields."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

from qlora_trainer.fused import decoder, generic, layer, router
from qlora_trainer.fused.agreement import Answer, answer, disagreement, probe
from qlora_trainer.fused.attention import document_mask, masked_attention
from qlora_trainer.fused.decoder import Decoder
from qlora_trainer.fused.generic import Generic
from qlora_trainer.rank.loss import MicroBatch, loss_sum
from unit.trainer.small_models import _COMMON, FAMILIES, build

LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1],
    "long_factor": [2.0, 3.0],
    "original_max_position_embeddings": 64,
    "partial_rotary_factor": 0.25,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 2": ("llama", {**_COMMON, "num_key_value_heads": 2}),
    "Llama 3": ("llama", {**_COMMON, "rope_parameters": LLAMA_3, "rms_norm_eps": 1e-5}),
    "Llama with biases": ("llama", {**_COMMON, "attention_bias": True, "mlp_bias": True}),
    "Mistral": ("mistral", FAMILIES["mistral"]),
    "Qwen2.5": ("qwen2", _COMMON),
    "Qwen3": ("qwen3", FAMILIES["qwen3"]),
    "Gemma": ("gemma", {**_COMMON, "head_dim": 16}),
    "Gemma 3": ("gemma3_text", FAMILIES["gemma3_text"]),
    "Phi-4": ("phi3", {**_COMMON, "rope_parameters": LONG, "sliding_window": 6}),
    "SmolLM3": ("smollm3", {**_COMMON, "no_rope_layers": [1, 0], "use_sliding_window": False}),
}


def adapted(family: str, config: dict[str, Any], targets: Any = "all-linear") -> Any:
    model = get_peft_model(build(family, config), LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    for name, value in model.named_parameters():
        if "bias" in name and "lora" not in name:
            torch.nn.init.normal_(value, 0.0, 0.1)
        if "norm" in name:
            torch.nn.init.normal_(value, 0.0 if family.startswith("gemma") else 1.0, 0.2)
    return model


def fast(model: Any, kernels: str, batch: MicroBatch, recomputes: bool = False) -> Answer:
    base = model.get_base_model()
    way = Generic(base, torch.float32) if kernels == "fused" else Decoder(base, torch.float32, recomputes, False)
    router.route(model, way.loss_sum)
    try:
        return answer(model, router.loss_sum, batch)
    finally:
        router.unroute(model)
        if isinstance(way, Generic):
            way.restore()


def worst(one: Answer, other: Answer) -> float:
    pairs = zip(one.gradients, other.gradients, strict=True)
    return max(float((mine - right).norm() / right.norm()) for mine, right in pairs)


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_those_of_transformers(name: str) -> None:
    model = adapted(*MODELS[name])
    for is_packed in (True, False):
        batch = probe(model, is_packed)
        plain = answer(model, loss_sum, batch)
        for kernels in ("compiled", "fused"):
            found = fast(model, kernels, batch)
            assert found.loss == pytest.approx(plain.loss, rel=1e-5)
            assert worst(found, plain) < 1e-4, kernels
    assert model.forward.__func__ is type(model).forward


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kernels", ["compiled", "fused"])
def test_flash_attention_is_told_where_documents_end(name: str, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PyTorch's attention in the place of the GPU's."""

    def stands_in(query: Any, key: Any, value: Any, boundaries: Any, longest: Any, window: int, scale: float) -> Any:
        assert boundaries.dtype == torch.int32
        assert int(longest) >= int(boundaries.diff().max())
        return masked_attention(query, key, value, document_mask(boundaries, len(query), window), scale), None

    for module in (generic, decoder):
        monkeypatch.setattr(module, "flash_fits", lambda *_: True)
    for module in (generic, layer):
        monkeypatch.setattr(module, "flash_attention", stands_in)
    model = adapted(*MODELS[name])
    for is_packed in (True, False):
        batch = probe(model, is_packed)
        plain = answer(model, loss_sum, batch)
        assert worst(fast(model, kernels, batch, recomputes=True), plain) < 1e-4
        assert answer(model, loss_sum, batch).loss == plain.loss, "as it was before"


def test_texts_are_written_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generic, "flash_fits", lambda *_: True)
    model = adapted("qwen3", FAMILIES["qwen3"]).eval()
    ids = torch.arange(3, 12)[None]

    def logits() -> Any:
        with torch.no_grad():
            return model.generate(input_ids=ids, max_new_tokens=4, do_sample=False, output_logits=True,
                                  return_dict_in_generate=True).logits  # fmt: skip

    way = Generic(model.get_base_model(), torch.float32)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_()
    mine = logits()
    way.restore()
    for one, other in zip(mine, logits(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernels", ["compiled", "fused"])
def test_only_some_layers_may_have_an_adapter(kernels: str) -> None:
    model = adapted("llama", _COMMON, ["q_proj", "v_proj", "up_proj"])
    batch = probe(model, True)
    assert worst(fast(model, kernels, batch), answer(model, loss_sum, batch)) < 1e-4


def test_layers_that_are_computed_again_give_the_same() -> None:
    model = adapted("gemma3_text", FAMILIES["gemma3_text"])
    batch = probe(model, True)
    kept, again = fast(model, "compiled", batch), fast(model, "compiled", batch, recomputes=True)
    assert kept.loss == again.loss
    assert all(torch.equal(one, other) for one, other in zip(kept.gradients, again.gradients, strict=True))


@pytest.mark.parametrize("name", ["Llama 3", "Gemma 3", "SmolLM3"])
def test_documents_of_a_sequence_give_what_they_give_alone(name: str) -> None:
    model = adapted(*MODELS[name])
    batch = probe(model, True)
    together = fast(model, "compiled", batch)
    assert batch.position_ids is not None
    alone = []
    begins = [*(batch.position_ids.flatten() == 0).nonzero().flatten().tolist(), batch.input_ids.numel()]
    for begin, end in itertools.pairwise(begins):
        ids, labels = batch.input_ids.flatten()[begin:end], batch.labels.flatten()[begin:end]
        alone.append(fast(model, "compiled", MicroBatch(ids[None], labels[None], None, None)))
    assert len(alone) == 3
    assert together.loss == pytest.approx(sum(each.loss for each in alone), rel=1e-5)
    parts = zip(*(each.gradients for each in alone), strict=True)
    for whole, own in zip(together.gradients, parts, strict=True):
        torch.testing.assert_close(whole, torch.stack(own).sum(0), atol=1e-4, rtol=1e-4)


def test_one_graph_is_enough_for_all_layers_and_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    model = adapted(*MODELS["Llama 3"])
    way = Decoder(model.get_base_model(), torch.float32, recomputes=False, compiles=True)
    batch = probe(model, True)
    for length in (batch.input_ids.shape[1], 40, 33):
        positions = torch.arange(length).expand(2, -1)
        part = MicroBatch(batch.input_ids[:, :length], batch.labels[:, :length], None, positions)
        assert float(way.loss_sum(part).detach()) == pytest.approx(float(loss_sum(model, part).detach()), rel=1e-5)
    assert len(graphs) == 1


def test_what_is_saved_has_the_names_that_it_has_without() -> None:
    model = adapted("llama", _COMMON)
    before = list(get_peft_model_state_dict(model))
    router.route(model, Generic(model.get_base_model(), torch.float32).loss_sum)
    assert list(get_peft_model_state_dict(model)) == before


def test_a_model_with_something_unknown_is_not_compiled() -> None:
    with pytest.raises(ValueError, match="model_type mixtral is not among"):
        Decoder(adapted("mixtral", FAMILIES["mixtral"], ["q_proj"]).get_base_model(), torch.float32, False, False)
    model = adapted("llama", _COMMON)
    model.get_base_model().model.layers[0].self_attn.gate = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="LlamaAttention has gate"):
        Decoder(model.get_base_model(), torch.float32, False, False)


def test_an_answer_that_is_off_is_a_disagreement() -> None:
    model = adapted("llama", _COMMON)
    batch = probe(model, False)
    plain = answer(model, loss_sum, batch)
    assert disagreement(plain, plain, torch.float32) is None
    wrong = Answer(plain.loss, [each * 1.3 for each in plain.gradients])
    assert "its gradient 30.00% from the plain one" in str(disagreement(plain, wrong, torch.bfloat16))
    assert all(not value.detach().any() for name, value in model.named_parameters() if "lora_B" in name)
