"""A row as token ids, and which of them are learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from qlora_trainer.rows import Row

Tokenizer = Any  # transformers.PreTrainedTokenizerFast
Span = tuple[int, int]


class Sequence(NamedTuple):
    """Token ids, and for each whether it is learned; both of one length."""

    ids: list[int]
    learned: list[bool]

    def cut(self, length: int) -> Sequence:
        """The first `length` tokens."""
        return Sequence(self.ids[:length], self.learned[:length])

    @property
    def targets(self) -> int:
        """Tokens that contribute to the loss. The first never does: nothing comes before it."""
        return sum(self.learned[1:])


def tokenize_row(row: Row, tokenizer: Tokenizer, row_format: str, everything: bool) -> Sequence:
    """Tokenises one row of `dataset.format`.

    A chat is rendered by the tokenizer's own template, without special tokens besides those that it writes. The other
    formats get the tokenizer's usual special tokens and an end-of-text token, which is learned.
    """
    match row_format:
        case "messages":
            return _chat(row["messages"], tokenizer, everything)
        case "prompt-completion":
            return _plain(row["prompt"], row["completion"], tokenizer, everything)
        case _:
            return _plain("", row["text"], tokenizer, everything=True)


def _plain(prompt: str, completion: str, tokenizer: Tokenizer, everything: bool) -> Sequence:
    encoded = tokenizer(prompt + completion, return_offsets_mapping=True)
    begin = 0 if everything else len(prompt)
    # A special token has the empty span (0, 0), which is learned only with everything else.
    learned = [start >= begin and (everything or end > start) for start, end in encoded["offset_mapping"]]
    ids = list(encoded["input_ids"])
    if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
        learned.append(True)
    else:
        learned[-1:] = [True]
    return Sequence(ids, learned)


def _chat(messages: list[dict[str, str]], tokenizer: Tokenizer, everything: bool) -> Sequence:
    if not everything and "{% generation" in _template(tokenizer).replace("{%-", "{%"):
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return Sequence(list(encoded["input_ids"]), [bool(mark) for mark in encoded["assistant_masks"]])

    def render(part: list[dict[str, str]], prompt: bool = False) -> str:
        text: str = tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=prompt)
        return text

    text = render(messages)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    if everything:
        return Sequence(ids, [True] * len(ids))
    spans = assistant_spans(messages, text, render)
    return Sequence(
        ids, [any(first <= start < last for first, last in spans) for start, _ in encoded["offset_mapping"]]
    )


def _template(tokenizer: Tokenizer) -> str:
    template: str = tokenizer.get_chat_template()
    return template


def assistant_spans(messages: list[dict[str, str]], text: str, render: Callable[..., str]) -> list[Span]:
    """Where the assistant speaks in `text`, the rendered chat: from the end of its prompt to the end of its turn.

    A turn is what rendering one message more adds to the rendered messages before it. Templates that render earlier
    turns differently from the last one break that; there the answer is looked up in the text behind what it answers,
    and what ends a turn is taken from the end of the chat.
    """
    spans: list[Span] = []
    cursor = 0
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            question = message["content"].strip()
            cursor = text.index(question, cursor) + len(question) if question in text[cursor:] else cursor
            continue
        before = render(messages[:position], prompt=True)
        through = render(messages[: position + 1])
        if text.startswith(through) and through.startswith(before):
            span = (len(before), len(through))
        else:
            answer = message["content"].strip()
            end_of_turn = through[through.rfind(answer) + len(answer) :].rstrip()
            start = text.find(answer, cursor)
            if start < 0:
                continue  # the template leaves this turn out
            end = start + len(answer)
            span = (start, end + len(end_of_turn) if text.startswith(end_of_turn, end) else end)
        spans.append(span)
        cursor = span[1]
    return spans
