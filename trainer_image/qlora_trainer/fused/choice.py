"""Which way through the layers a job takes: `training.kernels`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from deepspeed import comm

from qlora_api.kernels import FAST, refusal
from qlora_api.reasons import Reason
from qlora_api.spec import QLoRAJobSpec
from qlora_trainer import log
from qlora_trainer.errors import TrainerError
from qlora_trainer.fused import router
from qlora_trainer.fused.agreement import Answer, answer, disagreement, probe
from qlora_trainer.fused.attention import choose_flash, restore_flash
from qlora_trainer.fused.decoder import Decoder
from qlora_trainer.fused.device import HAS_TRITON
from qlora_trainer.fused.generic import Generic
from qlora_trainer.fused.router import LossOfModel
from qlora_trainer.rank.loss import loss_sum

Agree = Callable[[bool], bool]
"""Whether all ranks say yes."""


class Chosen(NamedTuple):
    """How losses are computed from now on."""

    kernels: str
    loss_sum: LossOfModel
    is_first: bool = True
    """Whether nothing faster was tried in vain."""


def candidates(wanted: str, device: torch.device) -> tuple[str, ...]:
    """The fast ways to try, the fastest first."""
    if wanted in FAST:
        return (wanted,)
    return ("compiled", "fused") if wanted == "auto" and device.type == "cuda" and HAS_TRITON else ()


def choose(model: Any, spec: QLoRAJobSpec, device: torch.device, is_packed: bool, agree: Agree) -> Chosen:
    """The fastest way that the job allows, that knows the model, and that agrees with the plain one. Collective.

    Args:
        model: PEFT's, as it was loaded; not yet in an engine.
        spec: the job's.
        device: of this rank.
        is_packed: whether sequences hold several documents.
        agree: asks all ranks.

    Raises:
        TrainerError: UserError, if a way is asked for by name that cannot be taken.
    """
    wanted = spec.training.kernels
    names = candidates(wanted, device)
    because = refusal(spec)
    if because is not None:
        if wanted in FAST:
            raise TrainerError(Reason.USER_ERROR, because)
        log.event("kernels", kernels="plain", message=because if names else None)
        return Chosen("plain", loss_sum)
    plain = _plain_answer(model, spec, is_packed) if names else None
    for name in names:
        assert plain is not None, "there is something to try"
        why_not, undo = _try(name, model, spec, device, is_packed, plain)
        if agree(why_not is None):
            log.event("kernels", kernels=name)
            return Chosen(name, router.loss_sum, name == names[0])
        undo()
        because = why_not or "another rank cannot take it"
        log.event("kernels_refused", kernels=name, message=because)
        if wanted in FAST:
            message = f"training.kernels: {wanted}: {because}; write training.kernels: auto"
            raise TrainerError(Reason.USER_ERROR, message)
    log.event("kernels", kernels="plain")
    return Chosen("plain", loss_sum, not names)


def _plain_answer(model: Any, spec: QLoRAJobSpec, is_packed: bool) -> Answer:
    """With layers that are computed again: what the plain way keeps may not fit where the fast one does."""
    base = model.get_base_model()
    if spec.training.gradient_checkpointing:
        return answer(model, loss_sum, probe(model, is_packed))
    base.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        return answer(model, loss_sum, probe(model, is_packed))
    finally:
        base.gradient_checkpointing_disable()


def _try(
    name: str, model: Any, spec: QLoRAJobSpec, device: torch.device, is_packed: bool, plain: Answer
) -> tuple[str | None, Callable[[], None]]:  # fmt: skip
    """Leads the model's losses another way. Returns why that is not right, if it is not, and what takes it back."""
    base, dtype = model.get_base_model(), getattr(torch, spec.compute_dtype)
    undo = ExitStack()
    undo.callback(router.unroute, model)
    try:
        if hasattr(base.config, "vision_config"):
            raise ValueError("the model reads images")
        if device.type == "cuda":
            undo.callback(restore_flash)
            log.event("attention_kernel", kernel=choose_flash(device))
        if name == "compiled":
            compiles, recomputes = device.type == "cuda", spec.training.gradient_checkpointing
            router.route(model, Decoder(base, dtype, recomputes, compiles).loss_sum)
        else:
            generic = Generic(base, dtype)
            undo.callback(generic.restore)
            router.route(model, generic.loss_sum)
        why_not = disagreement(plain, answer(model, router.loss_sum, probe(model, is_packed)), dtype)
    except ValueError as error:
        why_not = str(error)
    except Exception as error:  # whatever a compiler or a kernel ran into
        why_not = f"{type(error).__name__}: {error}"[:500]
    return why_not, undo.close


def all_agree(device: torch.device) -> Agree:
    """Asks all ranks. Collective."""

    def agree(is_right: bool) -> bool:
        votes = torch.tensor(float(is_right), device=device)
        comm.all_reduce(votes, op=comm.ReduceOp.MIN)
        return bool(votes)

    return agree
