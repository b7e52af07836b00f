"""The DeepSpeed engine: AdamW on the float32 adapter, with ZeRO of the stage that the job asks for."""

from __future__ import annotations

from typing import Any

import deepspeed
import torch

from qlora_api.job_file import JobFile


def deepspeed_config(job: JobFile) -> dict[str, Any]:
    """The job as DeepSpeed's JSON. There is no bf16 or fp16 block: what DeepSpeed sees is the float32 adapter."""
    training = job.spec.training
    return {
        "train_batch_size": training.global_batch_size,
        "train_micro_batch_size_per_gpu": training.micro_batch_size,
        "gradient_accumulation_steps": job.gradient_accumulation_steps,
        "gradient_clipping": training.max_gradient_norm,
        "zero_optimization": {"stage": job.spec.deepspeed.zero_stage},
        "steps_per_print": 2**31,
    }


def make_engine(model: Any, job: JobFile) -> Any:
    """Wraps the model. Collective: every rank calls it."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = job.spec.training
    optimizer = torch.optim.AdamW(trainable, lr=training.learning_rate, weight_decay=training.weight_decay)
    skip_broadcast_of_frozen(model)
    engine, _, _, _ = deepspeed.initialize(
        model=model, model_parameters=trainable, optimizer=optimizer, config=deepspeed_config(job)
    )
    return engine


def skip_broadcast_of_frozen(model: Any) -> None:
    """Each rank has read the base from its own files; sending it through the network takes minutes for a large one.

    DeepSpeed leaves out of its first broadcast what has this attribute (engine.py, `_broadcast_model`).
    """
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.ds_optim_param = True
