"""How an adapter can be built, and the one matrix of what goes together: method, quantisation, ZeRO stage, and
gradient checkpointing.

A combination is refused by the first row of REFUSALS that covers it. The rows become rules of the CRD (`rules`), and
the same rows answer `refusal` for what the CRD cannot see. What no row covers trains: `make test-matrix` tries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

QUANTIZATIONS = ("nf4", "fp4", "int8", "none")
STAGES = (0, 1, 2, 3)

_LORA: dict[str, object] = {
    "rank": 16,
    "alpha": 32,
    "dropout": 0.0,
    "targets": "all-linear",
    "trainable_tokens": (),
    "modules_to_save": "",
}
_PROMPT: dict[str, object] = {"virtual_tokens": 20}

METHODS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "lora": _LORA,
        "rslora": _LORA,
        "dora": _LORA,
        "olora": _LORA,
        "pissa": _LORA,
        "loftq": _LORA,
        "lora-plus": {**_LORA, "learning_rate_ratio": 16.0},
        "adalora": {"rank": 8, "alpha": 32, "dropout": 0.0, "targets": "all-linear"},
        "vera": {"rank": 256, "dropout": 0.0, "targets": "all-linear"},
        "oft": {"block_size": 32, "dropout": 0.0, "targets": "all-linear"},
        "ia3": {"targets": "k_proj,v_proj,down_proj"},
        "prefix-tuning": _PROMPT,
        "prompt-tuning": _PROMPT,
        "p-tuning": _PROMPT,
    }
)
"""The parameters in `spec.adapter` that each method reads, with their defaults."""

PROMPT_METHODS = tuple(name for name, defaults in METHODS.items() if "virtual_tokens" in defaults)
"""Methods that put learned vectors before the text and leave the model as it is."""

MERGE_REFUSALS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        PROMPT_METHODS,
        "output.merge: vectors before the text are no part of the weights; write output.merge: false, or "
        "adapter.method: lora",
    ),
    (
        ("loftq",),
        "output.merge: loftq makes up for what quantisation loses, which a merged model has not lost; write "
        "adapter.method: lora",
    ),
)
"""Methods whose adapter cannot become part of the base, with what to write instead."""

MERGEABLE = tuple(name for name in METHODS if not any(name in methods for methods, _ in MERGE_REFUSALS))
"""Methods whose adapter can be merged into the base."""

FROM_WEIGHTS = ("loftq", "pissa", "olora")
"""Methods whose first values come from the weights as they were before they were quantised."""


class Cell(NamedTuple):
    """One combination."""

    method: str
    quantization: str
    stage: int
    checkpointing: bool


@dataclass(frozen=True)
class Refusal:
    """Combinations that are refused: all that match every field; None matches everything."""

    because: str
    """What is wrong, and what to write instead."""
    methods: tuple[str, ...] | None = None
    quantizations: tuple[str, ...] | None = None
    stages: tuple[int, ...] | None = None
    checkpointing: bool | None = None
    is_useless: bool = False
    """Whether it would train, without what it is chosen for."""

    def covers(self, cell: Cell) -> bool:
        """Whether the combination is one of these."""
        return (
            (self.methods is None or cell.method in self.methods)
            and (self.quantizations is None or cell.quantization in self.quantizations)
            and (self.stages is None or cell.stage in self.stages)
            and (self.checkpointing is None or cell.checkpointing == self.checkpointing)
        )

    @property
    def rule(self) -> str:
        """A CEL expression over `spec` that is false for these combinations."""
        terms = []
        if self.methods is not None:
            terms.append(f"self.adapter.method in {list(self.methods)}")
        if self.quantizations is not None:
            terms.append(f"self.quantization.type in {list(self.quantizations)}")
        if self.stages is not None:
            terms.append(f"self.deepspeed.zeroStage in {list(self.stages)}")
        if self.checkpointing is not None:
            terms.append(f"{'' if self.checkpointing else '!'}self.training.gradientCheckpointing")
        return f"!({' && '.join(terms)})"


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "adapter.method: loftq makes up for what quantisation loses; write method: lora with quantization.type: none",
        methods=("loftq",),
        quantizations=("none",),
    ),
    Refusal(
        "adapter.method: prefix-tuning cannot compute activations again; write training.gradientCheckpointing: false",
        methods=("prefix-tuning",),
        checkpointing=True,
    ),
    Refusal(
        "adapter.method: adalora needs whole gradients; write deepspeed.zeroStage: 2",
        methods=("adalora",),
        stages=(3,),
    ),
    Refusal(
        "quantization.type: int8 stays whole on every rank, so ZeRO-3 saves nothing; write quantization.type: nf4, or "
        "deepspeed.zeroStage: 2",
        quantizations=("int8",),
        stages=(3,),
        is_useless=True,
    ),
)


def refusal(cell: Cell) -> str | None:
    """Why a combination is refused, with what to write instead; None if it works."""
    return next((row.because for row in REFUSALS if row.covers(cell)), None)


def rules() -> list[tuple[str, str]]:
    """The matrix as CEL rules of `spec`, each with its message."""
    merging = [
        (f"!(self.output.merge && self.adapter.method in {list(methods)})", because)
        for methods, because in MERGE_REFUSALS
    ]
    return [*((row.rule, row.because) for row in REFUSALS), *merging]


def cells() -> list[Cell]:
    """Every combination there is."""
    return [
        Cell(method, quantization, stage, checkpointing)
        for method in METHODS
        for quantization in QUANTIZATIONS
        for stage in STAGES
        for checkpointing in (False, True)
    ]


def parameter_rules(alias: Mapping[str, str]) -> list[tuple[str, str]]:
    """CEL rules of `spec.adapter`: a parameter is refused with a method that does not read it.

    Args:
        alias: the name of each parameter in a job.
    """
    found = []
    for parameter, name in alias.items():
        readers = [method for method, defaults in METHODS.items() if parameter in defaults]
        if readers != list(METHODS):
            found.append(
                (
                    f"!has(self.{name}) || self.method in {readers}",
                    f"{name} is for method {_either(readers)}; remove {name}, or write one of these methods",
                )
            )
    return found


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
