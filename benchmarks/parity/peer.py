"""The same training in TRL: `peer.py JOB`, a JSON file that `recipe.py` has written.

Only the adapter's first values come from elsewhere; TRL reads the rows, renders and masks them, and trains by itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Losses(TrainerCallback):
    """The loss of each optimizer step, as the trainer logs it."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    tokenizer.chat_template = job["chatTemplate"]
    dtype = getattr(torch, job["dtype"])
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    base = AutoModelForCausalLM.from_pretrained(
        job["model"],
        dtype=dtype,
        quantization_config=quantization if job["quantization"] == "nf4" else None,
        device_map={"": job["device"]},
        attn_implementation="sdpa",
    )
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if job["adapter"] is None:
        torch.manual_seed(job["seed"])
        model = get_peft_model(base, LoraConfig(**job["lora"], task_type="CAUSAL_LM"))
    else:
        model = PeftModel.from_pretrained(base, job["adapter"], is_trainable=True)
    losses = Losses()
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=load_dataset("json", data_files=job["rows"], split="train", cache_dir=job["cache"]),
        args=SFTConfig(
            output_dir=job["output"],
            assistant_only_loss=True,
            max_length=job["sequenceLength"],
            train_sampling_strategy="sequential",
            per_device_train_batch_size=job["microBatchSize"],
            gradient_accumulation_steps=job["accumulation"],
            max_steps=job["steps"],
            learning_rate=job["learningRate"],
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            adam_beta2=0.999,
            optim="adamw_torch",
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=job["device"] == "cpu",
            dataset_num_proc=1,
            disable_tqdm=True,
        ),
        callbacks=[losses],
    )
    trainer.train()
    trainer.model.save_pretrained(job["output"])
    Path(job["output"], "losses.json").write_text(json.dumps(losses.losses))


main()
