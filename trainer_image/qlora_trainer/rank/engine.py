"""The DeepSpeed engine: AdamW on the float32 adapter, with ZeRO of the stage that the job asks for."""

from __future__ import annotations

from typing import Any

import deepspeed

from qlora_api.estimate.trained import bucket_elements
from qlora_api.job_file import JobFile
from qlora_trainer.deepspeed_config import communication_data_type, handed_on, zero_options
from qlora_trainer.rank.gradient_norm import replace_norm
from qlora_trainer.rank.link import with_communication_dtype
from qlora_trainer.rank.optimizers import make_optimizer
from qlora_trainer.rank.stage3 import has_shares, is_shared_out_from_host, share_out


def deepspeed_config(job: JobFile, trained: int) -> dict[str, Any]:
    """The job as DeepSpeed's JSON, over the user's own.

    There is no bf16 or fp16 block: what DeepSpeed sees is the float32 adapter, in whatever type its gradients travel.
    ZeRO allocates its whole bucket of gradients, however few there are: 2 GB if nothing is said.

    Args:
        job: the job, `communicationDtype: auto` already decided.
        trained: parameters that are trained.
    """
    training, ours = job.spec.training, job.spec.deepspeed
    zero = zero_options(job.spec)
    if ours.zero_stage:
        zero["reduce_bucket_size"] = bucket_elements(trained, job.spec)
    return {
        "steps_per_print": 2**31,
        "zero_allow_untested_optimizer": True,
        **handed_on(ours.config),
        "train_batch_size": training.global_batch_size,
        "train_micro_batch_size_per_gpu": training.micro_batch_size,
        "gradient_accumulation_steps": job.gradient_accumulation_steps,
        "gradient_clipping": training.max_gradient_norm,
        "communication_data_type": communication_data_type(ours.communication_dtype),
        "zero_optimization": zero,
    }


def make_engine(model: Any, job: JobFile) -> Any:
    """Wraps the model. Collective: every rank calls it."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    skip_broadcast_of_frozen(model)
    trained = sum(parameter.numel() for parameter in trainable)
    config = deepspeed_config(with_communication_dtype(job, trained), trained)
    if is_shared_out_from_host(job.spec) or has_shares(model):
        share_out(model, config)
    engine, _, _, _ = deepspeed.initialize(
        model=model, model_parameters=trainable, optimizer=make_optimizer(model, job), config=config
    )
    replace_norm(engine)
    return engine


def skip_broadcast_of_frozen(model: Any) -> None:
    """Each rank has read the base from its own files; sending it through the network takes minutes for a large one.

    DeepSpeed leaves out of its first broadcast what has this attribute (engine.py, `_broadcast_model`).
    """
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.ds_optim_param = True
