"""A row as token ids, and which of them are learned."""

from __future__ import annotations

from typing import Any, NamedTuple

from qlora_api.spec import Loss
from qlora_trainer.rank.spans import assistant_spans
from qlora_trainer.rows.content import Chat, Completion, Message, Text

Tokenizer = Any  # transformers.PreTrainedTokenizerFast


class Sequence(NamedTuple):
    """Token ids, and for each whether it is learned; both of one length."""

    ids: list[int]
    learned: list[bool]

    @property
    def targets(self) -> int:
        """Tokens that contribute to the loss. The first never does: nothing comes before it."""
        return sum(self.learned[1:])

    def cut(self, length: int) -> Sequence:
        """At most `length` tokens: the first ones, or if those have nothing to learn, the middle of what is learned
        first and as much before it."""
        begin = 0
        if len(self.ids) > length and True not in self.learned[1:length] and True in self.learned[1:]:
            first = self.learned.index(True, 1)
            begin = min(first - length // 2, len(self.ids) - length)
        return self._part(begin, length)

    def pieces(self, length: int) -> list[Sequence]:
        """All of it in parts of at most `length` tokens. Each begins with the last token of the one before, which is
        what its first target follows."""
        return [self._part(begin, length) for begin in range(0, max(1, len(self.ids) - 1), length - 1)]

    def _part(self, begin: int, length: int) -> Sequence:
        return Sequence(self.ids[begin : begin + length], self.learned[begin : begin + length])


def tokenize_row(content: Chat | Completion | Text, tokenizer: Tokenizer, loss: Loss) -> Sequence:
    """Tokenises one row.

    A chat is rendered by the tokenizer's template, without special tokens besides those that it writes. The other
    formats get the tokenizer's usual special tokens and an end-of-text token, which is learned.
    """
    match content:
        case Chat():
            return _chat(content.messages, tokenizer, loss)
        case Completion():
            return _plain(content.prompt, content.completion, tokenizer, loss)
        case Text():
            return _plain("", content.text, tokenizer, "all")


def _plain(prompt: str, completion: str, tokenizer: Tokenizer, loss: Loss) -> Sequence:
    everything = loss == "all"
    encoded = tokenizer(prompt + completion, return_offsets_mapping=not everything)
    ids = list(encoded["input_ids"])
    if everything:
        learned = [True] * len(ids)
    else:  # a special token has the empty span (0, 0)
        learned = [start >= len(prompt) and end > start for start, end in encoded["offset_mapping"]]
    if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
        learned.append(True)
    else:
        learned[-1:] = [True]
    return Sequence(ids, learned)


def _chat(messages: list[Message], tokenizer: Tokenizer, loss: Loss) -> Sequence:
    if loss != "all" and "{% generation" in tokenizer.get_chat_template().replace("{%-", "{%"):
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        marks = [bool(mark) for mark in encoded["assistant_masks"]]
        return Sequence(list(encoded["input_ids"]), _last_run(marks) if loss == "completion" else marks)

    def render(part: list[Message], prompt: bool = False) -> str:
        text: str = tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=prompt)
        return text

    text = render(messages)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=loss != "all")
    ids = list(encoded["input_ids"])
    if loss == "all":
        return Sequence(ids, [True] * len(ids))
    spans = assistant_spans(messages, text, render)
    if loss == "completion":
        spans = spans[-1:]
    return Sequence(
        ids, [any(first <= start < last for first, last in spans) for start, _ in encoded["offset_mapping"]]
    )


def _last_run(marks: list[bool]) -> list[bool]:
    """Only the last unbroken run of marks."""
    if True not in marks:
        return marks
    end = len(marks) - marks[::-1].index(True)
    begin = end - marks[:end][::-1].index(False) if False in marks[:end] else 0
    return [begin <= place < end for place in range(len(marks))]
