"""Whether a job fits the vision-language model that it names, or names towers of a model that has none."""

from __future__ import annotations

from pathlib import Path

from qlora_api.reasons import Reason
from qlora_api.spec import TOWER_METHODS, QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import Family
from qlora_trainer.fetch.targets import ALL_LINEAR, build_without_weights
from qlora_trainer.fetch.tower_targets import tower_targets

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def check_no_towers(spec: QLoRAJobSpec) -> None:
    """Checks that a job for a model of text asks for nothing that only other models have.

    Raises:
        TrainerError: UserError, with the field and what to write instead.
    """
    if spec.adapter.towers is not None:
        raise _unfit("adapter.towers: the model of model.source has only a language model; remove towers")
    if spec.quantization.frozen_towers is not None:
        raise _unfit("quantization.frozenTowers: the model of model.source has no towers; remove frozenTowers")
    if any(part.columns is not None and part.columns.images is not None for part in spec.dataset.parts):
        raise _unfit("dataset.columns.images: the model of model.source reads no images; remove it")


def check_towers(spec: QLoRAJobSpec, model: Path, family: Family) -> None:
    """Checks a job for a vision-language model.

    Raises:
        TrainerError: UserError, with the field and what to write instead; ModelInvalid, if files are missing.
    """
    if not any((model / name).exists() for name in _PROCESSORS):
        raise TrainerError(
            Reason.MODEL_INVALID,
            f"model.source {spec.model.source}: {model} has neither {' nor '.join(_PROCESSORS)}, which say how images "
            "are read; copy them there",
        )
    fault = _fault(spec)
    if fault:
        raise _unfit(fault)
    adapted = [tower for tower in spec.adapter.trained_towers if tower.method != "full"]
    if any(tower.name == "projector" or tower.targets != ALL_LINEAR for tower in adapted):
        built = build_without_weights(model)
        for tower in adapted:
            tower_targets(built, family, tower)


def _fault(spec: QLoRAJobSpec) -> str:
    """The first thing that does not go together with images, with what to write instead; or an empty string."""
    adapter = spec.adapter
    if adapter.method not in TOWER_METHODS:
        return f"adapter.method: {adapter.method} is for models of text; write {', '.join(TOWER_METHODS[:-1])} or dora"
    if adapter.trainable_tokens:
        return "adapter.trainableTokens: for models of text only; remove it"
    if adapter.modules_to_save:
        return "adapter.modulesToSave: for models of text only; write method: full in adapter.towers"
    if spec.training.packing:
        return "training.packing: images are not packed; write packing: false"
    if spec.deepspeed.zero_stage > 1:
        return (
            f"deepspeed.zeroStage: {spec.deepspeed.zero_stage} adds up gradients in the order in which they come, "
            "which differs between ranks with and without an image; write zeroStage: 1"
        )
    if (spec.deepspeed.config.get("zero_optimization") or {}).get("overlap_comm") is True:
        return (
            "deepspeed.config: overlap_comm adds up gradients in the order in which they come, which differs between "
            "ranks with and without an image; write false"
        )
    if spec.output.merge:
        return "output.merge: an adapter of a vision-language model is not merged; write merge: false"
    return ""


def _unfit(fault: str) -> TrainerError:
    return TrainerError(Reason.USER_ERROR, fault)
