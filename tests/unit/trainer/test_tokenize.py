"""Which tokens of a row are learned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_api.spec import Loss
from qlora_trainer.rank.tokenize import Sequence, tokenize_row
from qlora_trainer.rows.content import Chat, Completion, Text
from unit.trainer.tiny_model import CHATML, WITH_GENERATION, make_tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Eins ü."},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "Zwei."},
]
QWEN_LIKE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THOUGHT = "<think>\n\n</think>\n\n"
STRIPS_THOUGHTS = (
    "{% for message in messages %}{% set content = message['content'] %}"
    "{% if message['role'] == 'assistant' and not loop.last %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + content.strip() + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_END_OF_TURN = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nassistant: ' }}{% endif %}"
)
LEFT_OUT_UNLESS_LAST = (
    "{% for message in messages %}{% if message['role'] == 'user' or loop.last %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def learned_text(tokenizer: Any, sequence: Sequence) -> str:
    ids = [token if learned else None for token, learned in zip(sequence.ids, sequence.learned, strict=True)]
    pieces: list[str] = []
    run: list[int] = []
    for token in [*ids, None]:
        if token is not None:
            run.append(token)
        elif run:
            pieces.append(tokenizer.decode(run))
            run = []
    return "|".join(pieces)


def chat(tokenizer: Any, messages: list[dict[str, str]], loss: Loss = "assistant") -> str:
    return learned_text(tokenizer, tokenize_row(Chat(messages), tokenizer, loss))


def turns(*contents: str) -> list[dict[str, str]]:
    """The user begins, the assistant answers, and so on."""
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_only_the_assistant_is_learned_with_its_end_of_turn(tokenizer: Any) -> None:
    sequence = tokenize_row(Chat(CHAT), tokenizer, "assistant")
    assert learned_text(tokenizer, sequence) == "Eins ü.<|im_end|>\n|Zwei.<|im_end|>\n"
    assert tokenizer.decode(sequence.ids) == tokenizer.apply_chat_template(CHAT, tokenize=False)


def test_a_template_with_generation_marks_is_believed() -> None:
    tokenizer = make_tokenizer(WITH_GENERATION)
    assert chat(tokenizer, CHAT) == "Eins ü.<|im_end|>|Zwei.<|im_end|>"


def test_a_template_that_renders_the_last_turn_differently() -> None:
    """As templates of thinking models do, which drop the thoughts of earlier turns."""
    tokenizer = make_tokenizer(QWEN_LIKE)
    assert chat(tokenizer, CHAT) == "Eins ü.<|im_end|>\n|<think>\n\n</think>\n\nZwei.<|im_end|>\n"


@pytest.mark.parametrize(
    ("template", "last"),
    [(None, "Zwei.<|im_end|>\n"), (WITH_GENERATION, "Zwei.<|im_end|>"),
     (QWEN_LIKE, "<think>\n\n</think>\n\nZwei.<|im_end|>\n")],
)  # fmt: skip
def test_loss_completion_learns_only_the_last_answer(template: str | None, last: str) -> None:
    tokenizer = make_tokenizer(template) if template else make_tokenizer()
    assert chat(tokenizer, CHAT, "completion") == last
    followed = chat(tokenizer, [*CHAT, {"role": "user", "content": "Three?"}], "completion")
    assert followed.removesuffix("\n") == "Zwei.<|im_end|>"


@pytest.mark.parametrize("template", [QWEN_LIKE, STRIPS_THOUGHTS, NO_END_OF_TURN, LEFT_OUT_UNLESS_LAST])
@pytest.mark.parametrize(
    "messages",
    [
        turns("Say yes. yes", "yes", "And no?", "no"),
        turns("yes", "yes", "Quote yourself: yes", "yes", "no", "yes"),
        turns("a", "", "yes", "yes"),
        turns("assistant", "user", "user", "assistant"),
    ],
)
def test_what_is_learned_never_lies_in_a_turn_of_the_user(template: str, messages: list[dict[str, str]]) -> None:
    """Whatever the user quotes: with the user's words replaced, the same is learned."""
    tokenizer = make_tokenizer(template)
    blank = [message if message["role"] == "assistant" else {**message, "content": "-"} for message in messages]
    learned = chat(tokenizer, messages)
    assert learned == chat(tokenizer, blank)
    assert messages[-1]["content"] in learned


WORDS = st.text("ab \n:", max_size=6).map(str.strip)


@pytest.mark.parametrize(
    ("template", "begin", "end"),
    [(CHATML, "", "<|im_end|>\n"), (WITH_GENERATION, "", "<|im_end|>"), (QWEN_LIKE, THOUGHT, "<|im_end|>\n")],
)
@given(words=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_exactly_the_answers_are_learned_whatever_is_said(
    template: str, begin: str, end: str, words: list[tuple[str, str]]
) -> None:
    tokenizer = make_tokenizer(template)
    messages = turns(*(content for pair in words for content in pair))
    expected = [answer + end for _, answer in words]
    expected[-1] = begin + expected[-1]
    assert chat(tokenizer, messages) == "|".join(expected)
    assert chat(tokenizer, messages, "completion") == expected[-1]


def test_thoughts_that_a_template_drops_do_not_hide_the_answer() -> None:
    tokenizer = make_tokenizer(STRIPS_THOUGHTS)
    messages = turns("What did you think: one? one", "<think>one</think>one", "And now?", "<think>two</think>two")
    assert chat(tokenizer, messages) == "one<|im_end|>\n|<think>two</think>two<|im_end|>\n"


def test_a_chat_may_begin_with_the_assistant(tokenizer: Any) -> None:
    messages = turns("", "Hello!", "Hi.", "How?")[1:]
    assert chat(tokenizer, messages) == "Hello!<|im_end|>\n|How?<|im_end|>\n"


def test_loss_all_learns_every_token(tokenizer: Any) -> None:
    sequence = tokenize_row(Chat(CHAT), tokenizer, "all")
    assert all(sequence.learned)
    assert sequence.targets == len(sequence.ids) - 1


def test_a_completion_is_learned_with_the_end_of_text(tokenizer: Any) -> None:
    sequence = tokenize_row(Completion("One? ", "Eins"), tokenizer, "assistant")
    assert learned_text(tokenizer, sequence) == "Eins<|im_end|>"
    assert tokenize_row(Completion("One? ", "Eins"), tokenizer, "completion") == sequence
    assert all(tokenize_row(Completion("One? ", "Eins"), tokenizer, "all").learned)


def test_text_is_learned_to_the_end(tokenizer: Any) -> None:
    assert learned_text(tokenizer, tokenize_row(Text("ab"), tokenizer, "all")) == "ab<|im_end|>"


def test_an_empty_answer_teaches_to_end_the_turn(tokenizer: Any) -> None:
    assert chat(tokenizer, turns("Quiet!", "")) == "<|im_end|>\n"


def test_what_the_user_repeats_is_not_learned(tokenizer: Any) -> None:
    assert chat(tokenizer, turns("Say yes. yes", "yes")) == "yes<|im_end|>\n"


MARKS = st.lists(st.booleans(), min_size=1, max_size=60)


@given(learned=MARKS, length=st.integers(8, 64))
def test_a_cut_keeps_something_to_learn_if_there_is_any(learned: list[bool], length: int) -> None:
    whole = Sequence(list(range(len(learned))), learned)
    part = whole.cut(length)
    assert len(part.ids) == min(length, len(learned))
    assert (part.ids, part.learned) == (whole.ids[(b := part.ids[0]) : b + length], learned[b : b + length])
    assert bool(part.targets) == bool(whole.targets)


@given(learned=MARKS, length=st.integers(8, 64))
def test_pieces_learn_every_target_once_each_after_what_comes_before_it(learned: list[bool], length: int) -> None:
    whole = Sequence(list(range(len(learned))), learned)
    pieces = whole.pieces(length)
    assert all(len(piece.ids) <= length for piece in pieces)
    predicted = [pair for piece in pieces for pair in zip(piece.ids, piece.ids[1:], strict=False)]
    assert predicted == list(zip(whole.ids, whole.ids[1:], strict=False))
    assert sum(piece.targets for piece in pieces) == whole.targets
