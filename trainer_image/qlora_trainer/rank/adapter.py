"""The adapter that a job asks for, as PEFT's configuration."""

from __future__ import annotations

import math
from typing import Any

from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    VeraConfig,
)

from qlora_api.estimate.adapter import ADALORA_SPARE
from qlora_api.spec import AdapterSpec
from qlora_trainer.fetch.targets import ALL_LINEAR

FEED_FORWARD_ENDS = ("down_proj", "fc2", "fc_out", "dense_4h_to_h", "wo", "w2", "mlp.c_proj")
"""Last modules of a feed-forward block. There IA3 scales what goes in, elsewhere what comes out (arXiv 2205.05638)."""


def adapter_config(adapter: AdapterSpec, seed: int, token_ids: list[int]) -> PeftConfig:
    """PEFT's form of the adapter.

    Args:
        adapter: the job's.
        seed: seed of VeRA's random matrices.
        token_ids: of `trainableTokens`.
    """
    given = adapter.parameters
    common: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    if "targets" in given:
        common["target_modules"] = _names(given["targets"])
    match adapter.method:
        case "adalora":
            return AdaLoraConfig(
                target_r=given["rank"],
                init_r=math.ceil(ADALORA_SPARE * given["rank"]),
                lora_alpha=given["alpha"],
                lora_dropout=given["dropout"],
                total_step=1,  # rank/adalora.py knows how many there are
                **common,
            )
        case "vera":
            return VeraConfig(
                r=given["rank"], vera_dropout=given["dropout"], projection_prng_key=seed, save_projection=True, **common
            )
        case "oft":
            return OFTConfig(r=0, oft_block_size=given["block_size"], module_dropout=given["dropout"], **common)
        case "ia3":
            return IA3Config(feedforward_modules=feed_forward_ends(common["target_modules"]), **common)
        case "prefix-tuning":
            return PrefixTuningConfig(num_virtual_tokens=given["virtual_tokens"], **common)
        case "prompt-tuning":
            return PromptTuningConfig(num_virtual_tokens=given["virtual_tokens"], **common)
        case "p-tuning":
            return PromptEncoderConfig(num_virtual_tokens=given["virtual_tokens"], **common)
        case _:
            return LoraConfig(
                r=given["rank"],
                lora_alpha=given["alpha"],
                lora_dropout=given["dropout"],
                use_rslora=adapter.method == "rslora",
                use_dora=adapter.method == "dora",
                trainable_token_indices=token_ids or None,
                modules_to_save=given["modules_to_save"].split(",") if given["modules_to_save"] else None,
                **common,
            )


def feed_forward_ends(targets: str | list[str]) -> list[str]:
    """The targets that end a feed-forward block."""
    if targets == ALL_LINEAR:
        return list(FEED_FORWARD_ENDS)
    return [target for target in targets if any(f".{target}".endswith(f".{end}") for end in FEED_FORWARD_ENDS)]


def _names(targets: str) -> str | list[str]:
    return targets if targets == ALL_LINEAR else targets.split(",")
