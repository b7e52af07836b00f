"""`spec.evaluation`: rows that are not learned, when their loss is measured, and what follows from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from qlora_api.base import ApiModel, rules
from qlora_api.spec.dataset import DatasetPart, DatasetSpec, RowFormat, SourceSpec, columns_fit
from qlora_api.spec.texts import SourceText

PromptText = Annotated[str, Field(min_length=1, max_length=8192, description="What the user says.")]


class SamplesSpec(ApiModel):
    """Texts that the model writes at each evaluation, always the likeliest token: samples.jsonl in the output."""

    prompts: Annotated[list[PromptText], Field(max_length=32)] = []
    """What the user says, rendered by the chat template; with formats without one, the beginning of a text."""
    rows: Annotated[int, Field(ge=0, le=64)] = 0
    """How many held-out rows are answered anew: the last answer of each, which stands beside it as expected."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 128
    """Tokens of each text at most."""


class EarlyStoppingSpec(ApiModel):
    """When training ends before its last step. The job succeeds, and its condition Succeeded says so."""

    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    """Evaluations in a row whose loss has not fallen, after which training ends."""
    min_delta: Annotated[float, Field(ge=0, le=100)] = 0.0
    """By how much the loss must fall to count, in nats a token."""


class EvaluationSpec(SourceSpec):
    """Measures the mean loss a token on rows that are not learned: during training, and at its end."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.source) != has(self.fraction)",
                "write source for rows of their own, or fraction to split them off the dataset",
            ),
            (
                "has(self.source) || !(has(self.files) || has(self.columns) || has(self.format))",
                "files, columns and format belong to a source; remove them, or write source instead of fraction",
            ),
            (
                r"!has(self.source) || !self.source.matches('/\\.\\.(/|$)')",
                "source must not contain '..'; write the path from the volume's root",
            ),
            *columns_fit("!has(self.format)"),
        )
    )

    source: SourceText | None = None
    """Held-out rows: a file or a folder of them, as dataset.source."""
    fraction: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """Part of the dataset's rows that is held out instead, chosen by training.seed and by what a row says, so that
    equal rows are on one side. 0.02 is a fiftieth."""
    format: RowFormat | None = None
    """As dataset.format, which is the default."""
    every_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Optimizer steps between two evaluations. The last step is evaluated too. Default: a tenth of all steps."""
    samples: SamplesSpec = SamplesSpec()
    """Texts that the model writes at each evaluation."""
    export: Literal["last", "best"] = "last"
    """The step whose adapter is the result: the last one, or that with the lowest evaluation loss. The checkpoint of
    the best step is kept beside the newest ones in any case."""
    early_stopping: EarlyStoppingSpec | None = None
    """When training ends before its last step. Default: never."""

    def part(self, dataset: DatasetSpec) -> DatasetPart | None:
        """The held-out rows as another part of the dataset, from which they take over what they do not say; None if
        they are split off."""
        if self.source is None:
            return None
        return DatasetPart(
            source=self.source,
            files=self.files,
            format=self.format or dataset.format,
            columns=self.columns or dataset.columns,
        )
