"""Answers questions without and with an adapter, to see what the training has changed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def ask(model: Path, adapter: Path, questions: list[str], max_new_tokens: int) -> None:
    """Prints one JSON line a question: `question`, `base` and `adapter`, both greedy, by the model's chat template."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32  # most CPUs are very slow at bfloat16
    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, use_safetensors=True, local_files_only=True)
    adapted = PeftModel.from_pretrained(base, adapter).to(device).eval()
    for question in questions:
        with adapted.disable_adapter():
            without = _answer(adapted, tokenizer, question, max_new_tokens)
        answer = {
            "question": question,
            "base": without,
            "adapter": _answer(adapted, tokenizer, question, max_new_tokens),
        }
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _answer(model: Any, tokenizer: Any, question: str, max_new_tokens: int) -> str:
    import torch

    messages = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    inputs = inputs.to(model.device)
    with torch.inference_mode():
        output = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.eos_token_id
        )
    text: str = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()
