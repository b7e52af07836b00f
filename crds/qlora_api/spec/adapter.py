"""`spec.adapter`: the method, and the parameters that it reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from qlora_api import methods
from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import ModuleNames, Targets, TokenText
from qlora_api.spec.towers import TOWER_METHODS, TOWERS, TowerName, TowerSpec, TowersSpec

ADAPTER_PARAMETERS = tuple(dict.fromkeys(name for defaults in methods.METHODS.values() for name in defaults))
"""Fields of `spec.adapter` that only some methods read."""


class Tower(NamedTuple):
    """How one part of a vision-language model is trained, with all that it takes over from `spec.adapter`."""

    name: TowerName
    method: str
    rank: int
    alpha: int
    targets: str
    learning_rate: float | None
    """None: `training.learningRate`."""


_METHODS_OF_TOWERS = ", ".join(
    f"has(self.towers.{name}) ? (has(self.towers.{name}.method) ? self.towers.{name}.method : self.method) : 'full'"
    for name in TOWERS
)


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
            (
                f"!has(self.towers) || self.method in {list(TOWER_METHODS)}",
                "towers: an adapter of several parts has method lora, rslora or dora; write one of these, or remove "
                "towers",
            ),
            (
                "!has(self.towers) || !(has(self.trainableTokens) || has(self.modulesToSave))",
                "towers: trainableTokens and modulesToSave are for models without them; remove these, or write method: "
                "full in a tower",
            ),
            (
                f"!has(self.towers) || !([{_METHODS_OF_TOWERS}].exists(m, m == 'dora') && "
                f"[{_METHODS_OF_TOWERS}].exists(m, m in ['lora', 'rslora']))",
                "towers: one adapter is dora in all of its towers or in none; write method: dora in each that is not "
                "full, or in none",
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
    towers: TowersSpec | None = None
    """With a vision-language model: which of its parts are trained, each with its own method, rank and learning rate.
    docs/vision.md says which to choose. Default: the language model only."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the method reads, by name, with its defaults filled in."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in methods.METHODS[self.method].items()
        }

    @property
    def trained_towers(self) -> list[Tower]:
        """The parts of a vision-language model that are trained, with what each takes over."""
        towers = self.towers or TowersSpec(language=TowerSpec())
        given, found = self.parameters, []
        for name in TOWERS:
            own: TowerSpec | None = getattr(towers, name)
            if own is not None:
                found.append(
                    Tower(
                        name,
                        own.method or self.method,
                        own.rank or given["rank"],
                        own.alpha or given["alpha"],
                        own.targets or given["targets"],
                        own.learning_rate,
                    )
                )
        return found
