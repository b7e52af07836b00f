"""The keys of a DeepSpeed configuration (https://www.deepspeed.ai/docs/config-json), and which of them go where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

AUTO = "auto"
Config = dict[str, Any]


COMMUNICATION = "communication_data_type"
COMMUNICATION_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
"""Data types of gradients on their way, in DeepSpeed's words and in the job's."""


class Shared(NamedTuple):
    """A figure that configuration and job can both state."""

    key: str
    """Path in the configuration."""
    field: str
    """Path in the spec, in the words of a job."""
    read: Callable[[Any], Any] = lambda value: value
    """From the configuration's form to the job's; None if it says nothing."""


SHARED = (
    Shared("train_micro_batch_size_per_gpu", "training.microBatchSize"),
    Shared("train_batch_size", "training.globalBatchSize"),
    Shared("gradient_clipping", "training.maxGradientNorm"),
    Shared("optimizer.params.lr", "training.learningRate"),
    Shared("optimizer.params.weight_decay", "training.weightDecay"),
    Shared("zero_optimization.stage", "deepspeed.zeroStage"),
    Shared("zero_optimization.offload_optimizer.device", "deepspeed.offloadOptimizer"),
    Shared("zero_optimization.offload_param.device", "deepspeed.offloadParameters"),
    Shared(COMMUNICATION, "deepspeed.communicationDtype", lambda name: COMMUNICATION_DTYPES[name.lower()]),
    Shared("bf16.enabled", "quantization.computeDtype", lambda on: "bfloat16" if on else None),
    Shared("fp16.enabled", "quantization.computeDtype", lambda on: "float16" if on else None),
)

ACCUMULATION = "gradient_accumulation_steps"
PRECISION = ("bf16", "fp16")
"""Blocks of which only `enabled` is read: the adapter is float32, so there is no loss to scale."""

_OFFLOAD = {"device", "pin_memory", "buffer_count", "buffer_size", "max_in_cpu", "fast_init"}
KNOWN: dict[str, set[str]] = {
    "": {
        "train_batch_size", "train_micro_batch_size_per_gpu", ACCUMULATION, "gradient_clipping", "optimizer",
        "scheduler", "zero_optimization", *PRECISION, "steps_per_print", "wall_clock_breakdown", "memory_breakdown",
        "dump_state", "flops_profiler", "comms_logger", COMMUNICATION, "zero_force_ds_cpu_optimizer",
        "zero_allow_untested_optimizer",
    },
    "zero_optimization": {
        "stage", "offload_optimizer", "offload_param", "allgather_partitions", "allgather_bucket_size", "overlap_comm",
        "reduce_scatter", "reduce_bucket_size", "contiguous_gradients", "round_robin_gradients", "sub_group_size",
        "stage3_max_live_parameters", "stage3_max_reuse_distance", "stage3_prefetch_bucket_size",
        "stage3_param_persistence_threshold", "stage3_gather_16bit_weights_on_model_save",
        "stage3_gather_fp16_weights_on_model_save", "stage3_module_granularity_threshold",
        "ignore_unused_parameters", "use_multi_rank_bucket_allreduce",
    },
    "zero_optimization.offload_optimizer": _OFFLOAD,
    "zero_optimization.offload_param": _OFFLOAD,
    "optimizer": {"type", "params"},
    "optimizer.params": {"lr", "weight_decay", "betas", "eps", "torch_adam", "adam_w_mode", "bias_correction"},
}  # fmt: skip
"""By the path of a block, the keys in it that can be followed."""


def at(config: Config, path: str) -> Any:
    """What stands at a path; None if nothing does."""
    value: Any = config
    for key in filter(None, path.split(".")):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def stated(value: Any) -> bool:
    """Whether a value says something: it is there, and not `auto`."""
    return value is not None and value != AUTO


def text(value: Any) -> str:
    """A value as JSON writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
