"""`spec.dataset`: one source of rows, or several that are mixed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from qlora_api.base import ApiModel, rules
from qlora_api.spec.texts import NO_CLIMBING, FieldName, FilePattern, SourceText

RowFormat = Literal["messages", "instruction", "prompt-completion", "text"]
Loss = Literal["assistant", "completion", "all"]


class ColumnsSpec(ApiModel):
    """Names of fields, where a dataset calls them differently."""

    messages: FieldName | None = None
    """List of messages, with format messages."""
    role: FieldName | None = None
    """Who speaks, in each message. Values human and gpt are read as user and assistant."""
    content: FieldName | None = None
    """What is said, in each message."""
    images: FieldName | None = None
    """Image or list of images of a row, with format messages and a vision-language model: paths from the folder of the
    row's file, or what datasets writes into Parquet. Default: images or image, if a row has it."""
    system: FieldName | None = None
    """System message of a row, with format messages or instruction. Default: none is looked for."""
    instruction: FieldName | None = None
    """Task, with format instruction."""
    input: FieldName | None = None
    """What the task is about, with format instruction; may be missing or empty."""
    output: FieldName | None = None
    """Answer, with format instruction."""
    prompt: FieldName | None = None
    """Beginning, with format prompt-completion."""
    completion: FieldName | None = None
    """How it goes on, with format prompt-completion."""
    text: FieldName | None = None
    """Document, with format text."""


_COLUMNS_OF_FORMAT = {
    "messages": ("messages", "role", "content", "images", "system"),
    "instruction": ("instruction", "input", "output", "system"),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}


def columns_fit(unless: str) -> list[tuple[str, str]]:
    """A rule for each format: no column is named that it does not have."""
    found = []
    for row_format, columns in _COLUMNS_OF_FORMAT.items():
        others = [name for name in ColumnsSpec.model_fields if name not in columns]
        named = " || ".join(f"has(self.columns.{name})" for name in others)
        found.append(
            (
                f"{unless} || !has(self.columns) || self.format != '{row_format}' || !({named})",
                f"columns of format {row_format} are {', '.join(columns)}; remove the others, or write another format",
            )
        )
    return found


class SourceSpec(ApiModel):
    """What is read of a source."""

    files: FilePattern | None = None
    """Files of a folder that are read, such as data/train-*.parquet. Default: all with an ending of rows."""
    columns: ColumnsSpec | None = None
    """Names of fields, where the dataset calls them differently."""


class DatasetPart(SourceSpec):
    """One of several datasets that are mixed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            NO_CLIMBING,
            # The API server compares a whole number with a bound that it has rounded down.
            ("self.weight >= 0.01", "weight must be at least 0.01; remove a dataset that is not wanted"),
            *columns_fit("!has(self.format)"),
        )
    )

    source: SourceText
    """As dataset.source."""
    format: RowFormat | None = None
    """As dataset.format, which is the default."""
    weight: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """How often each row is seen in an epoch: 2 twice, 0.5 every other row, and the others in the next epoch."""


class DatasetSpec(SourceSpec):
    """The text to train on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.source) != has(self.mix)",
                "write source for one dataset, or mix for several",
            ),
            (
                r"!has(self.source) || !self.source.matches('/\\.\\.(/|$)')",
                "source must not contain '..'; write the path from the volume's root",
            ),
            (
                "!has(self.files) || !has(self.mix)",
                "files belongs to a source; write it in the parts of mix",
            ),
            (
                "has(self.mix) || !(self.format == 'text' && has(self.loss) && self.loss != 'all')",
                "loss: assistant and completion need rows with answers; write loss: all with format: text",
            ),
            (
                "has(self.mix) || !has(self.chatTemplate) || self.format in ['messages', 'instruction']",
                "chatTemplate renders chats; remove it, or write format: messages or instruction",
            ),
            *columns_fit("has(self.mix)"),
        )
    )

    source: SourceText | None = None
    """A file or a folder of them, JSONL, JSON, Parquet, Arrow, CSV or plain text: pvc://claim/path,
    hf://organisation/name, s3://bucket/prefix or oci://registry/name:tag/path."""
    mix: Annotated[list[DatasetPart], Field(min_length=1, max_length=16)] | None = None
    """Several datasets instead of one."""
    format: RowFormat = "messages"
    """Fields of a row. messages: a list of {role, content}, where a vision-language model takes a content with parts
    {type: image, image: path} and {type: text, text}, or images beside it; instruction: instruction, input, output;
    prompt-completion: prompt, completion, without a chat template; text: text."""
    chat_template: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    """Jinja template that renders messages and instructions. Default: the model's own."""
    loss: Loss | None = None
    """Tokens that are learned. assistant: all that the assistant says; completion: only the last answer; all: every
    token. Default: assistant. Rows of format text are learned whole."""

    @property
    def parts(self) -> list[DatasetPart]:
        """What is mixed, with all that a part takes over from the dataset; one part without a mix."""
        if self.mix is None:
            assert self.source is not None, "the schema asks for source or mix"
            return [
                DatasetPart(source=self.source, files=self.files, format=self.format, columns=self.columns, weight=1.0)
            ]
        return [
            part.model_copy(update={"format": part.format or self.format, "columns": part.columns or self.columns})
            for part in self.mix
        ]

    def loss_of(self, part: DatasetPart) -> Loss:
        """What is learned of the rows of a part."""
        return "all" if part.format == "text" else self.loss or "assistant"
