"""How the pod ended, decided from what the ranks left and how the launcher exited."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlora_api.reasons import Reason
from qlora_api.report import TERMINATION_LIMIT, Termination
from qlora_trainer import termination
from qlora_trainer.paths import PodPaths

EXIT_STOPPED = 143
_KILLED, _ABORTED = 247, 250
"""What `deepspeed` exits with when a rank dies of SIGKILL (-9) or SIGABRT (-6)."""


@dataclass(frozen=True)
class Ending:
    """What the supervisor has seen."""

    ranks: dict[int, Termination | None]
    """What each rank of this pod left, the first to fail first; None if it left nothing."""
    exit_code: int | None
    """Exit code of `deepspeed`: negative for a signal, None if it had to be killed."""
    outlived: bool = False
    """Whether ranks were still running when `deepspeed` had ended."""
    vanished: int | None = None
    """A rank that ended without a word while `deepspeed` lived."""
    stopped: bool = False
    """Whether this pod was asked to stop."""
    halted: str | None = None
    """Why the gang has halted the ranks, if it has."""
    oom_kills: int | None = None
    """Processes that the kernel killed for memory meanwhile, or None if it does not say."""


def read_ranks(paths: PodPaths, epoch: int, ranks: range) -> dict[int, Termination | None]:
    """What the ranks of an epoch left, in the order of time; those that left nothing come last."""
    found: list[tuple[float, int, Termination]] = []
    for rank in ranks:
        file = paths.outcome(epoch, rank)
        outcome = _read(file)
        if outcome is not None:
            found.append((file.stat().st_mtime, rank, outcome))
    left: dict[int, Termination | None] = {rank: outcome for _, rank, outcome in sorted(found, key=lambda f: f[:2])}
    return left | {rank: None for rank in ranks if rank not in left}


def _read(file: Path) -> Termination | None:
    try:
        return Termination.from_untrusted(file.read_bytes(), limit=2 * TERMINATION_LIMIT)
    except OSError:
        return None


def decide(ending: Ending) -> Termination:
    """The termination message of the pod.

    Success is what every rank says of itself after the adapter is complete; `deepspeed` exits with 0 for other
    reasons too, for example when its child is killed. Of several failures the first real one is told: a rank that
    lost its peer, or was stopped because of another, is not the cause.
    """
    left = [outcome for outcome in ending.ranks.values() if outcome is not None]
    if len(left) == len(ending.ranks) and all(outcome.outcome == "Succeeded" for outcome in left):
        return _with_peak_memory(left[0], left)
    failures = [outcome for outcome in left if outcome.outcome == "Failed"]
    causes = [outcome for outcome in failures if outcome.reason not in (Reason.PEER_LOST, Reason.STOPPED)]
    stops = [outcome for outcome in failures if outcome.reason == Reason.STOPPED]
    silent = next((rank for rank, outcome in ending.ranks.items() if outcome is None), None)
    if causes:
        chosen = causes[0]
    elif ending.stopped:
        chosen = (
            stops[0]
            if stops
            else termination.failed(Reason.STOPPED, "asked to stop, and killed before the next checkpoint")
        )
    elif silent is not None and ending.exit_code in (_KILLED, _ABORTED):
        chosen = _silent(ending, silent)
    elif ending.vanished is not None:
        chosen = _killed(ending, ending.vanished)
    elif ending.halted is not None and len(stops) < len(ending.ranks):
        chosen = termination.failed(Reason.PEER_LOST, f"stopped because of another pod: {ending.halted}")
    elif ending.oom_kills:
        chosen = _out_of_memory("deepspeed", silent)
    elif ending.outlived:
        chosen = _vanished(ending, stops)
    elif silent is not None:
        chosen = _silent(ending, silent)
    elif stops:
        chosen = stops[0].model_copy(
            update={"message": f"another pod of the job was asked to stop; {stops[0].message}"}
        )
    else:
        chosen = failures[0]
    return _with_peak_memory(chosen, left)


def exit_code(outcome: Termination) -> int:
    """The pod's exit code: 0, 143 as after SIGTERM, or 1."""
    if outcome.outcome == "Succeeded":
        return 0
    return EXIT_STOPPED if outcome.reason == Reason.STOPPED else 1


def _vanished(ending: Ending, stops: list[Termination]) -> Termination:
    saved = f"; {stops[0].message}" if stops else ""
    step = stops[0].step if stops else None
    return termination.failed(
        Reason.LAUNCHER_VANISHED,
        f"deepspeed ended with exit code {ending.exit_code} while ranks were running; they were stopped{saved}",
        **({} if step is None else {"step": step}),
    )


def _silent(ending: Ending, rank: int) -> Termination:
    """A rank ended without a word."""
    match ending.exit_code:
        case code if code == _KILLED:
            return _killed(ending, rank)
        case code if code == _ABORTED:
            reason = Reason.COLLECTIVE_TIMEOUT
            message = f"rank {rank} was ended by SIGABRT, as a watchdog does when another rank does not answer"
        case code if code is None or code <= 0:
            reason = Reason.LAUNCHER_VANISHED
            message = f"deepspeed ended with exit code {code}, and rank {rank} has not said that it finished"
        case code:
            reason = Reason.TRAINER_FAILED
            message = f"deepspeed ended with exit code {code} before rank {rank} could say why; see the pod's log"
    return termination.failed(reason, message, rank=rank)


def _killed(ending: Ending, rank: int) -> Termination:
    if ending.oom_kills == 0:
        message = f"rank {rank} was killed by SIGKILL, not for want of memory"
        return termination.failed(Reason.TRAINER_FAILED, message, rank=rank)
    return _out_of_memory(f"rank {rank}", rank)


def _out_of_memory(who: str, rank: int | None) -> Termination:
    message = f"{who} was killed, most likely for want of memory; write more node.resources.memory"
    return termination.failed(Reason.HOST_OUT_OF_MEMORY, message, **({} if rank is None else {"rank": rank}))


def _with_peak_memory(chosen: Termination, left: list[Termination]) -> Termination:
    peaks = [outcome.peak_memory_bytes for outcome in left if outcome.peak_memory_bytes is not None]
    return chosen.model_copy(update={"peak_memory_bytes": max(peaks)}) if peaks else chosen
