"""Takes the figures of a DeepSpeed configuration into the job's own fields."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from qlora_api.job_file import JobFile
from qlora_api.portion import HALVE
from qlora_api.reasons import Reason
from qlora_api.spec.job import (
    FLOAT16_NEEDS_A_GPU,
    OPTIMIZER_OFFLOAD_NEEDS_ZERO,
    PARAMETER_OFFLOAD_NEEDS_ZERO_3,
    SMALL_OPTIMIZER_OR_OFFLOAD,
    QLoRAJobSpec,
)
from qlora_trainer.deepspeed_config.fault import fault
from qlora_trainer.deepspeed_config.keys import ACCUMULATION, SHARED, Config, Shared, at, stated, text
from qlora_trainer.errors import TrainerError


def with_deepspeed_config(job: JobFile) -> JobFile:
    """The job with the figures of `deepspeed.config` in its own fields.

    Raises:
        TrainerError: UserError, if the two contradict each other, or a key cannot be followed.
    """
    config = job.spec.deepspeed.config
    if not config:
        return job
    found = fault(config)
    if found:
        raise _refused(found)
    spec = job.spec
    if spec.training.on_gpu_out_of_memory == HALVE:
        _check_batches(spec, config)
    for shared in SHARED:
        spec = _adopt(spec, shared, config)
    spec = _adopt_accumulation(spec, config, job.world_size)
    together = contradiction(spec)
    if together:
        raise TrainerError(Reason.USER_ERROR, f"{together} (with deepspeed.config)")
    if spec.training.fit == "auto" and spec.training.micro_batch_size != 1:
        raise _refused(
            f"train_micro_batch_size_per_gpu: {spec.training.micro_batch_size} contradicts training.fit: auto; "
            "write train_micro_batch_size_per_gpu: auto"
        )
    portion = spec.training.micro_batch_size * job.world_size
    if spec.training.global_batch_size % portion:
        raise _refused(
            f"train_micro_batch_size_per_gpu: {spec.training.micro_batch_size} x {job.world_size} ranks does not "
            f"divide training.globalBatchSize: {spec.training.global_batch_size}; write a multiple of {portion}"
        )
    return job.model_copy(update={"spec": spec})


def contradiction(spec: QLoRAJobSpec) -> str:
    """What `kubectl apply` would have refused, had the job said it; or an empty text."""
    deepspeed = spec.deepspeed
    on_cpu, is_small = spec.node.accelerator == "cpu", spec.training.optimizer != "adamw"
    found = (
        (deepspeed.offload_optimizer == "cpu" and deepspeed.zero_stage == 0, OPTIMIZER_OFFLOAD_NEEDS_ZERO),
        (deepspeed.offload_parameters == "cpu" and deepspeed.zero_stage < 3, PARAMETER_OFFLOAD_NEEDS_ZERO_3),
        (spec.compute_dtype == "float16" and on_cpu, FLOAT16_NEEDS_A_GPU),
        (is_small and deepspeed.offload_optimizer == "cpu", SMALL_OPTIMIZER_OR_OFFLOAD),
    )
    return next((rule[1] for is_so, rule in found if is_so), "")


def _check_batches(spec: QLoRAJobSpec, config: Config) -> None:
    """A micro-batch that may be halved, and the batch that is cut into such, are the job's own.

    The operator halves it, and does not read a DeepSpeed configuration.
    """
    fields = {
        "train_micro_batch_size_per_gpu": "training.microBatchSize",
        ACCUMULATION: "training.globalBatchSize",
        "train_batch_size": "training.globalBatchSize",
    }
    for key, field in fields.items():
        value = config.get(key)
        is_the_job_s = key == "train_batch_size" and value == spec.training.global_batch_size
        if stated(value) and not is_the_job_s:
            raise _refused(
                f"{key}: {text(value)} would not stay so with training.onGPUOutOfMemory: {HALVE}; write {key}: auto, "
                f"and {field} instead, or onGPUOutOfMemory: fail"
            )


def _adopt(spec: QLoRAJobSpec, shared: Shared, config: Config) -> QLoRAJobSpec:
    value = at(config, shared.key)
    wanted = shared.read(value) if stated(value) else None
    if wanted is None:
        return spec
    part, field = _python_path(spec, shared.field)
    section = getattr(spec, part)
    current = getattr(section, field)
    if current not in (wanted, type(section).model_fields[field].default):
        raise _refused(
            f"{shared.key}: {text(value)} contradicts {shared.field}: {text(current)}; "
            f"write the same, or {shared.key}: auto"
        )
    return _with(spec, part, field, wanted, shared.key)


def _adopt_accumulation(spec: QLoRAJobSpec, config: Config, world_size: int) -> QLoRAJobSpec:
    """DeepSpeed counts micro-batches, the job whole batches."""
    steps, training = config.get(ACCUMULATION), spec.training
    if not stated(steps):
        return spec
    if not isinstance(steps, int) or steps < 1:
        raise _refused(f"{ACCUMULATION}: {text(steps)} is no whole number from 1 on; write auto")
    wanted = steps * training.micro_batch_size * world_size
    is_open = (
        training.global_batch_size == type(training).model_fields["global_batch_size"].default
        and not stated(config.get("train_batch_size"))
    )  # fmt: skip
    if training.global_batch_size != wanted and not is_open:
        raise _refused(
            f"{ACCUMULATION}: {steps} x training.microBatchSize: {training.micro_batch_size} x {world_size} ranks "
            f"contradicts training.globalBatchSize: {training.global_batch_size}; write {ACCUMULATION}: auto"
        )
    return _with(spec, "training", "global_batch_size", wanted, ACCUMULATION)


def _with(spec: QLoRAJobSpec, part: str, field: str, value: Any, key: str) -> QLoRAJobSpec:
    """The spec with one field changed, within the bounds of that field."""
    data = spec.model_dump()
    data[part][field] = value
    try:
        return QLoRAJobSpec.model_validate(data)
    except ValidationError as error:
        raise _refused(f"{key}: {text(value)}: {error.errors()[0]['msg']}") from error


def _python_path(spec: QLoRAJobSpec, path: str) -> tuple[str, str]:
    """`training.microBatchSize` as (training, micro_batch_size)."""
    part, _, alias = path.partition(".")
    fields = type(getattr(spec, part)).model_fields
    (field,) = (name for name, about in fields.items() if (about.alias or name) == alias)
    return part, field


def _refused(sentence: str) -> TrainerError:
    return TrainerError(Reason.USER_ERROR, f"deepspeed.config.{sentence}")
