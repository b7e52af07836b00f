"""How many requests a job costs from its creation to its success: children, status and Event, whatever its size."""

from __future__ import annotations

from benchmarks.operator.contenders import Contender
from benchmarks.operator.stage import Stage
from benchmarks.operator.table import Row, ratio
from benchmarks.operator.tail import creation_of_pods, is_resync

from support.audit import tally
from support.jobs import JobDriver

AIM = 7
SILENCE = 3.0
LAST_WORDS = {"outcome": "Succeeded", "message": "trained 60 steps", "step": 60, "of": 60, "loss": 0.5, "fromStep": 0}


def measure(stage: Stage, sizes: list[int]) -> list[Row]:
    """Pods end as the kubelet would end them; the null operator does not look at that."""
    rows = []
    for size in sizes:
        ours, null = _requests(stage, stage.ours, size), _requests(stage, stage.null, size)
        rows.append(
            Row(
                f"requests for the life of a job of {size} pods",
                str(AIM),
                str(sum(ours.values())),
                str(sum(null.values())),
                ratio(sum(ours.values()), sum(null.values())),
                sum(ours.values()) <= AIM,
            )
        )
        print(", ".join(f"{number} {what}" for what, number in ours.items()))
    return rows


def _requests(stage: Stage, contender: Contender, size: int) -> dict[str, int]:
    tail = stage.tail()
    name = f"life-{size}"
    stage.post(contender, name, size)
    if contender is stage.ours:
        _succeed(JobDriver(stage.plane, contender.namespace), name, size)
    else:
        tail.wait_for(creation_of_pods(contender.namespace), size, timeout=60)
    stage.tail().wait_for_silence(contender.user, SILENCE, timeout=60)
    made = tally([request for request in tail.requests(contender.user) if not is_resync(request)])
    stage.clear(contender)
    return dict(made)


def _succeed(driver: JobDriver, name: str, size: int) -> None:
    for pod in driver.wait_for_pods(name, size):
        driver.end_pod(pod, message=LAST_WORDS)
    driver.wait_for_phase(name, "Succeeded")
