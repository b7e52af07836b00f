"""How long one job takes from the answer to its creation to the answer to the creation of its last pod."""

from __future__ import annotations

import time
from statistics import median

from benchmarks.operator.contenders import Contender
from benchmarks.operator.stage import Stage
from benchmarks.operator.table import Row, ratio
from benchmarks.operator.tail import creation_of_pods

AIMS = {2: 1.4, 8: 1.2, 64: 1.2}
"""Times the null operator, by number of pods."""
REST = 0.5


def measure(stage: Stage, sizes: list[int], repetitions: int) -> list[Row]:
    """Both take turns, one repetition each."""
    for contender in stage.contenders:
        _seconds(stage, contender, "warm-up", 2)
    rows = []
    for size in sizes:
        taken: dict[str, list[float]] = {contender.label: [] for contender in stage.contenders}
        for number in range(repetitions):
            for contender in stage.contenders:
                taken[contender.label].append(_seconds(stage, contender, f"job-{size}-{number}", size))
        null, ours, same = (1000 * median(taken[contender.label]) for contender in stage.contenders)
        aim = AIMS.get(size)
        rows.append(
            Row(
                f"one job of {size} pods, to its last pod, ms",
                f"{aim} x null" if aim else "",
                f"{ours:.0f}",
                f"{null:.0f}",
                ratio(ours, null),
                None if aim is None else ours <= aim * null,
            )
        )
        rows.append(
            Row("  beside the null operator with the same pods", "", f"{ours:.0f}", f"{same:.0f}", ratio(ours, same))
        )
    return rows


def _seconds(stage: Stage, contender: Contender, name: str, size: int) -> float:
    tail = stage.tail()
    stage.post(contender, name, size)
    tail.wait_for(creation_of_pods(contender.namespace), size, timeout=60)
    time.sleep(REST)
    made = [r for r in tail.requests() if (r.verb, r.code, r.namespace) == ("create", 201, contender.namespace)]
    began = next(request.answered for request in made if request.resource == contender.kind.plural)
    last = max(request.answered for request in made if request.resource == "pods")
    stage.clear(contender)
    time.sleep(REST)
    return last - began
