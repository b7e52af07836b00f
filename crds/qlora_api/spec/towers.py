"""`spec.adapter.towers`: which parts of a vision-language model are trained, and how each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import Targets

TowerName = Literal["language", "projector", "vision"]
TOWERS: tuple[TowerName, ...] = ("language", "projector", "vision")
TOWER_METHODS = ("lora", "rslora", "dora")
"""Methods of `spec.adapter` that one adapter can hold for several towers."""


class TowerSpec(ApiModel):
    """How one part of the model is trained. What is not said here is as in spec.adapter and spec.training."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.method) || self.method != 'full' || "
                "!(has(self.rank) || has(self.alpha) || has(self.targets))",
                "method: full trains every weight; remove rank, alpha and targets, or write method: lora",
            ),
        )
    )

    method: Literal["lora", "rslora", "dora", "full"] | None = None
    """How it is trained. lora, rslora, dora: an adapter, as in adapter.method; full: every weight, in float32, which is
    saved with the adapter. Default: adapter.method."""
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rank of its adapter's matrices. Default: adapter.rank."""
    alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Scale: its adapter's output is multiplied by alpha / rank, with rslora by alpha / sqrt(rank). Default:
    adapter.alpha."""
    targets: Targets | None = None
    """Modules of this part that get an adapter: all-linear, or names separated by commas. Default: adapter.targets."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Learning rate of this part after the warm-up. Default: training.learningRate."""


class TowersSpec(ApiModel):
    """The parts of a vision-language model that are trained. One that is not named stays as it is."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.language) || has(self.projector) || has(self.vision)",
                "write at least one of language, projector and vision, such as language: {}",
            ),
            (
                "!has(self.language) || !has(self.language.method) || self.language.method != 'full'",
                "language.method: full would train the whole language model in float32; write lora, rslora or dora",
            ),
        )
    )

    language: TowerSpec | None = None
    """The language model, by an adapter. {} is as spec.adapter says. Default: frozen."""
    projector: TowerSpec | None = None
    """What turns the image's features into the language model's inputs, also called connector or merger. Default:
    frozen."""
    vision: TowerSpec | None = None
    """The vision encoder. Default: frozen."""
