"""Texts that the model writes while it is trained: answers to given prompts, and anew to held-out rows.

Always the likeliest token, so a text changes only when the model does. Each rank writes another text at a time; with
ZeRO-3, where every token is collective, all go on until the longest is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from deepspeed import comm
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from qlora_api.spec import DatasetSpec, SamplesSpec
from qlora_trainer.rank.data import Dataset, Document
from qlora_trainer.rank.evaluate import evaluating

CHATS = ("messages", "instruction")


class Prompt(NamedTuple):
    """What the model goes on from."""

    ids: list[int]
    text: str
    expected: str | None
    """What the dataset says there; None for a prompt that the job gave."""
    inputs: Mapping[str, torch.Tensor] = MappingProxyType({})
    """What a model that sees reads beside the ids."""


def make_prompts(samples: SamplesSpec, dataset: DatasetSpec, held_out: Dataset, tokenizer: Any) -> list[Prompt]:
    """The prompts of the job, then those of its first held-out rows."""
    are_chats = tokenizer.chat_template is not None and any(part.format in CHATS for part in dataset.parts)
    given = [
        Prompt(_prompt_ids(text, tokenizer, are_chats, held_out.images is not None), text, None)
        for text in samples.prompts
    ]
    numbers = range(min(samples.rows, len(held_out.members)))
    anew = [_of_document(held_out.document(number), tokenizer) for number in numbers]
    images = held_out.images
    if images is None:
        return [*given, *anew]
    given = [prompt._replace(inputs=images.inputs([], torch.tensor([prompt.ids]))) for prompt in given]
    anew = [
        prompt._replace(inputs=images.inputs([number], torch.tensor([prompt.ids])), text=images.shown(prompt.ids))
        for number, prompt in zip(numbers, anew, strict=True)
    ]
    return [*given, *anew]


def _prompt_ids(text: str, tokenizer: Any, is_chat: bool, in_parts: bool) -> list[int]:
    if not is_chat:
        ids = tokenizer(text)["input_ids"]
        return list(ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids)
    messages = [{"role": "user", "content": [{"type": "text", "text": text}] if in_parts else text}]
    encoded = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=True)
    return list(encoded["input_ids"])


def _of_document(document: Document, tokenizer: Any) -> Prompt:
    """Everything up to the last run of learned tokens; of a document that is learned whole, the first half."""
    ids, begin = document.ids.tolist(), beginning_of_answer(document.learned.tolist())
    return Prompt(ids[:begin], tokenizer.decode(ids[:begin]), tokenizer.decode(ids[begin:], skip_special_tokens=True))


def beginning_of_answer(learned: list[bool]) -> int:
    """Where the last run of learned tokens begins, or the middle if that is at the first token that can be learned."""
    end = len(learned) - learned[::-1].index(True)
    begin = end - learned[:end][::-1].index(False)  # the first token is never learned
    return begin if begin > 1 else max(1, len(learned) // 2)


def write_samples(
    engine: Any, prompts: list[Prompt], tokenizer: Any, max_new_tokens: int, goes_on: Callable[[], bool],
    on_token: Callable[[], None],
) -> list[str]:  # fmt: skip
    """The text after each prompt, as far as it came. Collective; every rank returns all of them.

    Args:
        engine: around the PEFT model.
        prompts: the same on every rank.
        tokenizer: of the model.
        max_new_tokens: of each text.
        goes_on: called after each text; must answer the same on every rank.
        on_token: called for each token.
    """
    rank, world_size = comm.get_rank(), comm.get_world_size()
    is_collective = engine.zero_optimization_stage() == 3
    config = _generation_config(engine.module, tokenizer, max_new_tokens)
    mine: dict[int, str] = {}
    with evaluating(engine):
        for begin in range(0, len(prompts), world_size):
            number = begin + rank
            if number < len(prompts) or is_collective:
                prompt = prompts[min(number, len(prompts) - 1)]
                ids = torch.tensor([prompt.ids], device=engine.device)
                output = engine.module.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=config,
                    synced_gpus=is_collective,
                    stopping_criteria=StoppingCriteriaList([_Listener(on_token)]),
                    **{name: value.to(engine.device) for name, value in prompt.inputs.items()},
                )
                mine[number] = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
            if not goes_on():
                break
    everyones: list[dict[int, str]] = [{}] * world_size
    torch.distributed.all_gather_object(everyones, mine)
    texts = {number: text for share in everyones for number, text in share.items()}
    return [texts[number] for number in range(len(prompts)) if number in texts]


def _generation_config(model: Any, tokenizer: Any, max_new_tokens: int) -> GenerationConfig:
    """Greedy, whatever the model's own configuration says; its tokens that end a text count."""
    own = model.generation_config.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=0),
    )


class _Listener(StoppingCriteria):  # type: ignore[misc]
    """Hears of each token and never stops."""

    def __init__(self, on_token: Callable[[], None]) -> None:
        self._on_token = on_token

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._on_token()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
