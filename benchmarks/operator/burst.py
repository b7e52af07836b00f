"""How many jobs a second become pods when many are created at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from statistics import median

from benchmarks.operator.contenders import Contender
from benchmarks.operator.stage import Stage
from benchmarks.operator.table import Row, ratio
from benchmarks.operator.tail import creation_of_pods
from benchmarks.operator.usage import processor_seconds, resident_mebibytes

PODS = 2
"""Of each job."""
RATE_AIM = 50
MEMORY_AIM = 110
SILENCE = 2.0


@dataclass(frozen=True)
class Burst:
    """One repetition of one contender."""

    rate: float
    """Jobs a second, from the first answer to a creation of a job to the last to one of a pod."""
    requests: float
    """Of each job, until nothing more is asked for."""
    processor: float
    """Seconds of processor time."""
    memory: float
    """Peak resident memory in MiB."""


def measure(stage: Stage, jobs: int, repetitions: int) -> list[Row]:
    """Both take turns; the operator's last jobs stay for what is measured next."""
    bursts: dict[str, list[Burst]] = {contender.label: [] for contender in stage.contenders}
    for _ in range(repetitions):
        for contender in (stage.null, stage.null_with_same_pods, stage.ours):
            stage.clear(contender)
            time.sleep(SILENCE)
            bursts[contender.label].append(run(stage, contender, jobs))
            stage.clear(stage.null)
    null, ours, same = (_median(bursts[contender.label]) for contender in stage.contenders)
    rate_holds, memory_holds = ours.rate >= RATE_AIM, ours.memory <= MEMORY_AIM
    return [
        _row(f"{jobs} jobs at once, jobs a second", ours.rate, null.rate, 1, f"{RATE_AIM} or more", rate_holds),
        _row("  beside the null operator with the same pods", ours.rate, same.rate, 1),
        _row("requests of each of them until it runs", ours.requests, null.requests, 1),
        _row("processor time for all of them, s", ours.processor, null.processor, 2),
        _row(f"peak memory with {jobs} jobs, MiB", ours.memory, null.memory, 0, f"{MEMORY_AIM} or less", memory_holds),
    ]


def _median(bursts: list[Burst]) -> Burst:
    names = [field.name for field in fields(Burst)]
    return Burst(**{name: median(getattr(burst, name) for burst in bursts) for name in names})


def _row(what: str, ours: float, null: float, digits: int, aim: str = "", holds: bool | None = None) -> Row:
    return Row(what, aim, f"{ours:.{digits}f}", f"{null:.{digits}f}", ratio(ours, null), holds)


def run(stage: Stage, contender: Contender, jobs: int) -> Burst:
    """Creates the jobs, and waits until all their pods run and nobody asks for anything."""
    tail = stage.tail()
    used = processor_seconds(contender.pid)
    stage.post_many(contender, [f"burst-{number}" for number in range(jobs)], PODS)
    tail.wait_for(creation_of_pods(contender.namespace), jobs * PODS, timeout=180)
    stage.wait_until_all_pods_run(contender)
    stage.tail().wait_for_silence(contender.user, SILENCE, timeout=120)
    log = [request for request in tail.requests() if request.namespace == contender.namespace]
    made = [request for request in log if (request.verb, request.code) == ("create", 201)]
    began = min(request.answered for request in made if request.resource == contender.kind.plural)
    last = max(request.answered for request in made if request.resource == "pods")
    return Burst(
        rate=jobs / (last - began),
        requests=sum(request.user == contender.user for request in log) / jobs,
        processor=processor_seconds(contender.pid) - used,
        memory=resident_mebibytes(contender.pid, peak=True),
    )
