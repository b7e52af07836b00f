"""One attempt: fetches, starts all pods, and returns how they ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qlora_api.reasons import Reason
from qlora_api.report import Progress, Termination
from qlora_cli.pod import Pod
from qlora_cli.stop import Stop
from qlora_trainer import termination
from qlora_trainer.supervisor.gang.verdict import Fault, first_fault

POLL_SECONDS = 0.2
ASK_SECONDS = 1.0
"""Between two questions to pod 0."""
AFTER_FAILURE_SECONDS = 10.0
"""Time that the other pods have to end by themselves once one has failed; pod 0 stays to tell them."""
KILL_MARGIN_SECONDS = 10.0
"""Beyond the grace period, within which a supervisor ends its ranks itself."""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    outcome: Termination
    pod: Pod
    """The pod that says so: after a failure the first to fail."""
    restarts: int
    """Restarts in place."""
    last: Progress | None
    """The last figures of pod 0's ranks."""


def run_attempt(
    pods: Sequence[Pod], grace_seconds: float, deadline: float | None, stop: Stop, tell: Callable[[Progress], None]
) -> Ended:
    """Runs the pods of an attempt to their end.

    Args:
        pods: not started yet, in the order of the hostfile.
        grace_seconds: between the wish to stop and the end of a supervisor's patience.
        deadline: on the monotonic clock, after which they are stopped for good.
        stop: whether the user wants to stop.
        tell: is given the newest figures of pod 0.
    """
    fetching = pods[0].fetch()
    _wait([fetching], pods[:1], grace_seconds, deadline, stop, lambda: None)
    if fetching.returncode != 0:
        return _ended(pods[:1], [fetching.returncode], stop, deadline)
    for pod in pods[1:]:
        pod.take_sources(pods[0])
    processes = [pod.run() for pod in pods]

    asked = 0.0

    def look() -> None:
        nonlocal asked
        if time.monotonic() - asked >= ASK_SECONDS:
            asked = time.monotonic()
            progress = pods[0].progress()
            if progress is not None:
                tell(progress)

    _wait(processes, pods, grace_seconds, deadline, stop, look)
    ended = _ended(pods, [process.returncode for process in processes], stop, deadline)
    if ended.last is not None:
        tell(ended.last)
    return ended


def _wait(
    processes: Sequence[subprocess.Popen[bytes]],
    pods: Sequence[Pod],
    grace_seconds: float,
    deadline: float | None,
    stop: Stop,
    each_round: Callable[[], None],
) -> None:
    """Returns when all processes have ended. All are asked to stop at once, and killed if they take too long."""
    failed_at = asked_at = None
    cleared: set[Pod] = set()
    while any(process.poll() is None for process in processes):
        now = time.monotonic()
        each_round()
        for pod, process in zip(pods, processes, strict=True):
            if process.returncode is not None and pod not in cleared:  # a container takes its processes along
                pod.kill()
                cleared.add(pod)
        if failed_at is None and any(process.poll() not in (None, 0) for process in processes):
            failed_at = now
        has_lingered = failed_at is not None and now > failed_at + AFTER_FAILURE_SECONDS
        is_over = deadline is not None and now > deadline
        if asked_at is None and (stop.requested or has_lingered or is_over):
            asked_at = now
            for process in processes:
                process.terminate()
        if stop.urgent or (asked_at is not None and now > asked_at + grace_seconds + KILL_MARGIN_SECONDS):
            break
        time.sleep(POLL_SECONDS)
    for pod in pods:
        pod.kill()
    for process in processes:
        process.wait()


def _ended(pods: Sequence[Pod], codes: Sequence[int], stop: Stop, deadline: float | None) -> Ended:
    left = {pod.completion_index: pod.termination() for pod in pods}
    in_order = sorted((entry[0], index) for index, entry in left.items() if entry is not None)
    told = {index: entry[1] for _, index in in_order if (entry := left[index]) is not None}
    restarts = max((words.restarts or 0 for words in told.values()), default=0)
    last = pods[0].last_progress()
    first = left[0]
    if all(code == 0 for code in codes) and first is not None and first[1].outcome == "Succeeded":
        return Ended(first[1], pods[0], restarts, last)
    if deadline is not None and time.monotonic() > deadline and not stop.requested:
        message = "the job took longer than runPolicy.activeDeadline"
        return Ended(termination.failed(Reason.DEADLINE_EXCEEDED, message), pods[0], restarts, last)
    silent = {index: codes[index] for index, entry in left.items() if entry is None}
    fault = first_cause(told, silent, stop.requested)
    return Ended(fault.outcome, pods[fault.completion_index or 0], restarts, last)


def first_cause(told: Mapping[int, Termination], silent: Mapping[int, int], stopped: bool) -> Fault:
    """The fault that the others follow from.

    Args:
        told: how pods ended, by completion index, in the order of time.
        silent: exit codes of pods that have left no word.
        stopped: whether the user wanted to stop; else a pod was asked to because another had failed.
    """
    reason, message = (
        (Reason.STOPPED, "stopped before it could save")
        if stopped
        else (Reason.POD_LOST, "pod {index} ended with exit code {code} and left no word")
    )
    outcomes = {
        index: termination.failed(reason, message.format(index=index, code=code)) for index, code in silent.items()
    } | dict(told)
    if not stopped:
        outcomes = {index: words for index, words in outcomes.items() if words.reason != Reason.STOPPED} or outcomes
    fault = first_fault(outcomes)
    assert fault is not None, "an attempt that has not succeeded has failed"
    return fault
