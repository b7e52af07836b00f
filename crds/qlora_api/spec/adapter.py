"""`spec.adapter`: the method, and the parameters that it reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from qlora_api import methods
from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import ModuleNames, Targets, TokenText

ADAPTER_PARAMETERS = tuple(dict.fromkeys(name for defaults in methods.METHODS.values() for name in defaults))
"""Fields of `spec.adapter` that only some methods read."""


class AdapterSpec(ApiModel):
    """The small part that is trained. docs/methods.md says which method to choose, and what it goes together with."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *methods.parameter_rules({name: to_camel(name) for name in ADAPTER_PARAMETERS}),
            (
                "!has(self.trainableTokens) || !has(self.modulesToSave) || !self.modulesToSave.matches("
                "r'(^|,|\\.)(embed_tokens|wte|word_embeddings|embed_in|lm_head|embed_out)(,|$)')",
                "modulesToSave trains all tokens with the embeddings or the output layer; remove trainableTokens",
            ),
        )
    )

    method: Literal[
        "lora",
        "rslora",
        "dora",
        "olora",
        "pissa",
        "loftq",
        "lora-plus",
        "adalora",
        "vera",
        "oft",
        "ia3",
        "prefix-tuning",
        "prompt-tuning",
        "p-tuning",
    ] = "lora"
    """How the adapter is built."""
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rank of the adapter's matrices; with adalora the mean rank at the end. Default: 16; adalora 8, vera 256."""
    alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Scale: the adapter's output is multiplied by alpha / rank, with rslora by alpha / sqrt(rank). Default: 32."""
    dropout: Annotated[float, Field(ge=0, le=0.9)] | None = None
    """Part of the adapter's inputs that is dropped in training. Default: 0."""
    targets: Targets | None = None
    """Modules that get an adapter: all-linear, or names separated by commas, such as q_proj,v_proj.
    Default: all-linear; ia3: k_proj,v_proj,down_proj."""
    learning_rate_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    """lora-plus: how many times faster than its A a matrix B learns. Default: 16."""
    block_size: Annotated[int, Field(ge=2, le=1024)] | None = None
    """oft: side of the blocks that are rotated; it must divide the inputs of every target. Default: 32."""
    virtual_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    """prefix-tuning, prompt-tuning, p-tuning: learned vectors before the text. Default: 20."""
    trainable_tokens: Annotated[list[TokenText], Field(max_length=64)] | None = None
    """Tokens whose embeddings are trained too, such as <|im_start|>: each one token of the tokenizer. Default: none."""
    modules_to_save: ModuleNames | None = None
    """Modules that are trained whole and saved with the adapter, by names separated by commas, such as norm or
    lm_head. Default: none."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the method reads, by name, with its defaults filled in."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in methods.METHODS[self.method].items()
        }
