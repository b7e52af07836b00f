"""Whether the adapter that a job asks for fits the model, from the headers of its weights and its tokenizer."""

from __future__ import annotations

from pathlib import Path

from qlora_api.estimate.base import EMBEDDINGS
from qlora_api.methods import FROM_WEIGHTS, Cell, refusal
from qlora_api.reasons import Reason
from qlora_api.spec import AdapterSpec, QLoRAJobSpec
from qlora_trainer.errors import TrainerError
from qlora_trainer.fetch.families import family_of
from qlora_trainer.fetch.merging import check_merge
from qlora_trainer.fetch.targets import ALL_LINEAR, check_targets, linear_modules, unknown_targets
from qlora_trainer.fetch.towers import check_no_towers, check_towers
from qlora_trainer.fetch.weights import Shapes, read_folder_shapes
from qlora_trainer.files import read_json


def check_adapter(spec: QLoRAJobSpec, model: Path) -> None:
    """Checks `spec.adapter` against the rest of the job and the model.

    Raises:
        TrainerError: UserError, with the field, what was wrong, and what to write instead.
    """
    family = family_of(model)
    if family is not None:
        check_towers(spec, model, family)
        return
    check_no_towers(spec)
    cell = Cell(
        spec.adapter.method,
        spec.quantization.type,
        spec.deepspeed.zero_stage,
        spec.training.gradient_checkpointing,
    )
    given = spec.adapter.parameters
    if "targets" in given:
        check_targets(given["targets"], model)
    shapes = read_folder_shapes(model)
    fault = (
        refusal(cell)
        or _size_fault(spec.adapter, shapes)
        or _token_fault(spec.adapter, model)
        or _saved_fault(spec, model, shapes)
    )
    if fault:
        raise TrainerError(Reason.USER_ERROR, fault)
    if spec.output.merge:
        check_merge(model, shapes, lambda module: _is_target(given.get("targets", ""), module))


def _size_fault(adapter: AdapterSpec, shapes: Shapes) -> str:
    """A rank or block that does not fit a target's weight of shape (outputs, inputs)."""
    given = adapter.parameters
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if len(shape) != 2 or module == name or not _is_target(given.get("targets", ""), module):
            continue
        if adapter.method == "oft" and shape[1] % given["block_size"]:
            return (
                f"adapter.blockSize: {given['block_size']} does not divide the {shape[1]} inputs of {module}; "
                "write a divisor of it"
            )
        if adapter.method in FROM_WEIGHTS and given["rank"] > min(shape):
            return (
                f"adapter.rank: {given['rank']} is more than {module} has, whose weight is {shape[0]} x {shape[1]}; "
                f"write at most {min(shape)}, or method: lora"
            )
    return ""


def _is_target(targets: str, module: str) -> bool:
    if targets == ALL_LINEAR:
        return module.rpartition(".")[2] not in EMBEDDINGS
    return any(not unknown_targets([target], [module]) for target in targets.split(","))


def _token_fault(adapter: AdapterSpec, model: Path) -> str:
    tokens = adapter.trainable_tokens or ()
    if not tokens:
        return ""
    vocabulary = _vocabulary(model)
    for token in tokens:
        if token not in vocabulary:
            return (
                f"adapter.trainableTokens: {token!r} is not one token of the tokenizer; write tokens of tokenizer.json "
                "exactly as they stand there"
            )
    return ""


def _vocabulary(model: Path) -> set[str]:
    """Every token, from tokenizer.json if there is one; transformers, which takes seconds, knows the other forms."""
    content = read_json(model / "tokenizer.json")
    vocabulary = (content or {}).get("model", {}).get("vocab")
    if vocabulary is None:
        from transformers import AutoTokenizer

        return set(AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False).get_vocab())
    words = vocabulary if isinstance(vocabulary, dict) else [entry[0] for entry in vocabulary]
    return {*words, *(token["content"] for token in (content or {}).get("added_tokens", []))}


def _saved_fault(spec: QLoRAJobSpec, model: Path, shapes: Shapes) -> str:
    """A module of `modulesToSave` that there is not, or whose weight is quantised and cannot be trained."""
    wanted = [name for name in (spec.adapter.modules_to_save or "").split(",") if name]
    if not wanted:
        return ""
    modules = {name.rpartition(".")[0]: shape for name, shape in shapes.items()}
    unknown = unknown_targets(wanted, {*modules, "lm_head"})  # an output layer that is tied has no weight of its own
    if unknown:
        return (
            f"adapter.modulesToSave: the model has no module {unknown[0]!r} with weights; write some of "
            f"{', '.join(sorted({name.rpartition('.')[2] for name in modules}))}"
        )
    linear = [
        name
        for name in wanted
        if name.rpartition(".")[2] not in EMBEDDINGS
        and any(len(shape) == 2 for module, shape in modules.items() if not unknown_targets([name], [module]))
    ]
    if spec.quantization.type == "none" or not linear:
        return ""
    quantised = [name for name in linear if not unknown_targets([name], linear_modules(model))]
    if quantised:
        return (
            f"adapter.modulesToSave: {quantised[0]} is quantised and cannot be trained whole; write it under "
            "adapter.targets, or quantization.type: none"
        )
    return ""
