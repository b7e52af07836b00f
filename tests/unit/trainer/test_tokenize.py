"""Which tokens of a row are learned."""

from __future__ import annotations

from typing import Any

import pytest

from qlora_trainer.rank.tokenize import Sequence, tokenize_row
from unit.trainer.tiny_model import WITH_GENERATION, make_tokenizer

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


def test_only_the_assistant_is_learned_with_its_end_of_turn(tokenizer: Any) -> None:
    sequence = tokenize_row({"messages": CHAT}, tokenizer, "messages", everything=False)
    assert learned_text(tokenizer, sequence) == "Eins ü.<|im_end|>\n|Zwei.<|im_end|>\n"
    assert tokenizer.decode(sequence.ids) == tokenizer.apply_chat_template(CHAT, tokenize=False)


def test_a_template_with_generation_marks_is_believed() -> None:
    tokenizer = make_tokenizer(WITH_GENERATION)
    sequence = tokenize_row({"messages": CHAT}, tokenizer, "messages", everything=False)
    assert learned_text(tokenizer, sequence) == "Eins ü.<|im_end|>|Zwei.<|im_end|>"


def test_a_template_that_renders_the_last_turn_differently() -> None:
    """As templates of thinking models do, which drop the thoughts of earlier turns."""
    tokenizer = make_tokenizer(QWEN_LIKE)
    sequence = tokenize_row({"messages": CHAT}, tokenizer, "messages", everything=False)
    assert learned_text(tokenizer, sequence) == "Eins ü.<|im_end|>|<think>\n\n</think>\n\nZwei.<|im_end|>\n"


def test_loss_all_learns_every_token(tokenizer: Any) -> None:
    sequence = tokenize_row({"messages": CHAT}, tokenizer, "messages", everything=True)
    assert all(sequence.learned)
    assert sequence.targets == len(sequence.ids) - 1


def test_a_completion_is_learned_with_the_end_of_text(tokenizer: Any) -> None:
    row = {"prompt": "One? ", "completion": "Eins"}
    sequence = tokenize_row(row, tokenizer, "prompt-completion", everything=False)
    assert learned_text(tokenizer, sequence) == "Eins<|im_end|>"


def test_text_is_learned_to_the_end(tokenizer: Any) -> None:
    sequence = tokenize_row({"text": "ab"}, tokenizer, "text", everything=True)
    assert learned_text(tokenizer, sequence) == "ab<|im_end|>"


def test_an_empty_answer_teaches_to_end_the_turn(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "Quiet!"}, {"role": "assistant", "content": ""}]
    sequence = tokenize_row({"messages": chat}, tokenizer, "messages", everything=False)
    assert learned_text(tokenizer, sequence) == "<|im_end|>\n"


def test_what_the_user_repeats_is_not_learned(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "Say yes. yes"}, {"role": "assistant", "content": "yes"}]
    sequence = tokenize_row({"messages": chat}, tokenizer, "messages", everything=False)
    assert learned_text(tokenizer, sequence) == "yes<|im_end|>\n"


def test_what_the_user_repeats_is_not_learned_either_when_the_last_turn_is_rendered_differently() -> None:
    tokenizer = make_tokenizer(QWEN_LIKE)
    chat = [
        {"role": "user", "content": "Say yes. yes"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "And no?"},
        {"role": "assistant", "content": "no"},
    ]
    sequence = tokenize_row({"messages": chat}, tokenizer, "messages", everything=False)
    assert learned_text(tokenizer, sequence) == "yes<|im_end|>|<think>\n\n</think>\n\nno<|im_end|>\n"
