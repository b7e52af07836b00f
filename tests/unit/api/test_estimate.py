"""The estimate beside what `benchmarks/memory.py` has measured on a GPU, and what follows from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from builders import SPEC
from qlora_api.estimate import Choice, Rows, estimate
from qlora_api.estimate.config import ModelConfig
from qlora_api.estimate.fused import kernels_of
from qlora_api.estimate.head import HeadBytes, head_bytes
from qlora_api.kernels import FLOAT_PORTION
from qlora_api.shares import why_whole
from qlora_api.spec import QLoRAJobSpec

MIB = 2**20


class Model(NamedTuple):
    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    is_tied: bool
    has_bias: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return {
            "hidden_size": self.width,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.is_tied,
        }

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        width, keys = self.width, self.width // self.heads * self.key_heads
        linear = {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (self.inner, width),
            "mlp.up_proj": (self.inner, width),
            "mlp.down_proj": (width, self.inner),
        }
        found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, width)}
        for number in range(self.layers):
            before = f"model.layers.{number}."
            found |= {f"{before}{name}.weight": shape for name, shape in linear.items()}
            found |= {f"{before}{name}.weight": (width,) for name in ("input_layernorm", "post_attention_layernorm")}
            if self.has_bias:
                found |= {f"{before}{name}.bias": linear[name][:1] for name in list(linear)[:3]}
        found["model.norm.weight"] = (width,)
        return found if self.is_tied else {**found, "lm_head.weight": (self.vocabulary, width)}


QWEN_05B = Model(896, 4864, 24, 14, 2, 151936, True, has_bias=True)
LLAMA_1B = Model(2048, 8192, 16, 32, 8, 128256, True)
LLAMA_8B = Model(4096, 14336, 32, 32, 8, 128256, False)
MISTRAL_7B = Model(4096, 14336, 32, 32, 8, 32000, False)


def job(micro_batch: int = 1, length: int = 2048, checkpointing: bool = True, stage: int = 1, optimizer: str = "adamw",
        rank: int = 16, quantization: str = "nf4", kernels: str = "plain", **more: Any) -> QLoRAJobSpec:  # fmt: skip
    return QLoRAJobSpec.model_validate(
        {
            **SPEC,
            "nodes": 1,
            "node": {"slots": 1},
            "quantization": {"type": quantization},
            "adapter": {"rank": rank},
            "training": {
                "globalBatchSize": 2 * micro_batch,
                "microBatchSize": micro_batch,
                "sequenceLength": length,
                "gradientCheckpointing": checkpointing,
                "optimizer": optimizer,
                "kernels": kernels,
            },
            "deepspeed": {"zeroStage": stage},
            **more,
        }
    )


@pytest.mark.parametrize(
    ("model", "job", "is_masked", "measured"),
    [
        (QWEN_05B, job(4, 1024), False, 3411),
        (QWEN_05B, job(2, 2048, False, 0), False, 10845),
        (QWEN_05B, job(4, 512, False, 2, "adamw-8bit"), False, 5833),
        (QWEN_05B, job(1, 256, True, 1, rank=256), False, 3739),
        (LLAMA_1B, job(1, 2048), False, 2579),
        (LLAMA_1B, job(4, 2048, True, 2), False, 5974),
        (LLAMA_1B, job(2, 2048, False), False, 13332),
        (LLAMA_1B, job(2, 2048, False), True, 13970),
        (LLAMA_1B, job(4, 1024, False, 0, "adamw-8bit"), False, 13177),
        (LLAMA_8B, job(1, 2048), False, 8053),
        (LLAMA_8B, job(4, 2048, True, 2, "adamw-8bit"), False, 12376),
        (LLAMA_8B, job(1, 4096, False), False, 45449),
        (LLAMA_8B, job(1, 512, False, 0, rank=64), False, 13144),
        (LLAMA_8B, job(1, 512, True, 1, rank=64), False, 9393),
        (MISTRAL_7B, job(2, 4096), False, 10003),
        (MISTRAL_7B, job(1, 2048, False), False, 23628),
        (MISTRAL_7B, job(1, 512, True, 1, "adamw-8bit", quantization="none"), False, 14841),
    ],
)
def test_the_estimate_is_what_was_measured(model: Model, job: QLoRAJobSpec, is_masked: bool, measured: int) -> None:
    """MiB of torch.cuda.max_memory_allocated on an H100 with torch 2.11."""
    found = estimate(job, model.shapes, model.config, is_masked=is_masked)
    assert found.allocated / MIB == pytest.approx(measured, rel=0.03)


def test_the_loss_takes_four_bytes_a_logit_and_a_portion_in_float32() -> None:
    config = ModelConfig.of(LLAMA_8B.config)
    portion = 4 * FLOAT_PORTION * config.vocabulary
    logits = 2048 * config.vocabulary
    assert head_bytes(config, 2048, size=2) == HeadBytes(2 * logits + portion, 4 * logits + portion)
    assert head_bytes(config, 2048, size=4) == HeadBytes(4 * logits + portion, 8 * logits + portion)
    few = FLOAT_PORTION // 2
    assert head_bytes(config, few, size=2).forward == few * config.vocabulary * (2 + 4)


def test_capped_logits_are_kept_twice() -> None:
    plain = ModelConfig.of(LLAMA_8B.config)
    capped = ModelConfig.of({**LLAMA_8B.config, "final_logit_softcapping": 30.0})
    logits = 2 * 2048 * plain.vocabulary
    assert head_bytes(capped, 2048, 2).forward == head_bytes(plain, 2048, 2).forward + logits
    assert head_bytes(capped, 2048, 2).backward == head_bytes(plain, 2048, 2).backward + logits


@pytest.mark.parametrize(
    ("model", "job", "measured"),
    [
        (QWEN_05B, job(2, 2048, False, 0, kernels="compiled"), 5905),
        (LLAMA_8B, job(4, 2048, rank=64, kernels="compiled"), 12856),
        (LLAMA_8B, job(4, 2048, False, rank=64, kernels="compiled"), 48236),
        (LLAMA_8B, job(4, 2048, rank=64, kernels="fused"), 12854),
        (LLAMA_8B, job(4, 2048, False, rank=64, kernels="fused"), 48183),
    ],
)
def test_the_estimate_of_the_fast_ways_is_near_what_was_measured(
    model: Model, job: QLoRAJobSpec, measured: int
) -> None:
    """MiB of torch.cuda.max_memory_allocated on an H200 with torch 2.11."""
    found = estimate(job, model.shapes, model.config, is_masked=False)
    assert found.allocated / MIB == pytest.approx(measured, rel=0.07)


def test_the_way_through_the_layers_follows_from_job_and_model() -> None:
    llama = {"model_type": "llama"}
    assert kernels_of(job(kernels="auto"), llama) == "compiled"
    assert kernels_of(job(kernels="auto"), {"model_type": "mixtral"}) == "fused"
    assert kernels_of(job(kernels="plain"), llama) == "plain"
    assert kernels_of(job(kernels="auto", stage=3), llama) == "plain"
    assert kernels_of(job(kernels="auto", node={"accelerator": "cpu"}), llama) == "plain"


def test_ranks_share_the_optimizer_from_stage_1_on_and_the_base_from_stage_3_on() -> None:
    def parts(stage: int) -> dict[str, int]:
        spec = job(stage=stage, nodes=2, node={"slots": 4})
        return estimate(spec, LLAMA_8B.shapes, LLAMA_8B.config).phases[0].parts

    assert parts(1)["optimizer"] == pytest.approx(parts(0)["optimizer"] / 8, rel=0.01)
    assert parts(3)["weights (nf4)"] == parts(2)["weights (nf4)"] // 8


def test_less_is_needed_for_shorter_rows_and_where_fewer_tokens_are_learned() -> None:
    def needed(rows: Rows | None) -> int:
        return estimate(job(), LLAMA_8B.shapes, LLAMA_8B.config, rows=rows).allocated

    assert needed(Rows(512, 512)) < needed(Rows(2048, 512)) < needed(None)


def test_another_choice_is_estimated_as_if_the_job_had_made_it() -> None:
    chosen = estimate(job(), MISTRAL_7B.shapes, MISTRAL_7B.config, Choice(2, False))
    written = estimate(job(2, checkpointing=False), MISTRAL_7B.shapes, MISTRAL_7B.config)
    assert chosen.phases[1].parts["kept activations"] == written.phases[1].parts["kept activations"]


def test_a_model_without_sizes_is_refused_with_what_is_missing() -> None:
    with pytest.raises(ValueError, match="has no hidden_size"):
        estimate(job(), LLAMA_1B.shapes, {"vocab_size": 10})


def test_a_model_that_reads_images_is_not_estimated() -> None:
    with pytest.raises(ValueError, match="the memory of images is not estimated"):
        estimate(
            QLoRAJobSpec.model_validate(SPEC), {}, {"text_config": {"hidden_size": 64}, "vision_config": {"depth": 2}}
        )


def test_reading_the_base_takes_a_share_and_a_weight_or_the_whole_where_the_adapter_begins_from_it() -> None:
    def reading(stage: int = 3, **more: Any) -> dict[str, int] | None:
        spec = job(stage=stage, nodes=2, node={"slots": 4}, **more)
        phases = estimate(spec, LLAMA_8B.shapes, LLAMA_8B.config).phases
        return next((phase.parts for phase in phases if phase.name == "reading the base"), None)

    whole, shared = reading(adapter={"method": "dora", "rank": 16}), reading()
    assert reading(stage=2) is None
    assert whole is not None
    assert shared is not None
    assert shared["share of the base"] == whole["base, whole"] // 8
    assert shared["the weight that is read"] == 2 * LLAMA_8B.vocabulary * LLAMA_8B.width
    away = reading(deepspeed={"zeroStage": 3, "offloadParameters": "cpu"})
    assert away == {**shared, "share of the base": 0}


@pytest.mark.parametrize(
    ("adapter", "because"),
    [
        ({}, None),
        ({"modulesToSave": "norm"}, None),
        ({"method": "pissa"}, "adapter.method: pissa takes its first values from whole weights"),
        ({"method": "dora"}, "adapter.method: dora takes its first values from whole weights"),
        ({"trainableTokens": ["a"]}, "adapter.trainableTokens takes its first values from the whole embedding"),
    ],
)
def test_why_an_adapter_needs_the_base_whole_is_said(adapter: dict[str, Any], because: str | None) -> None:
    assert why_whole(job(stage=3, adapter={"rank": 16, **adapter})) == because
