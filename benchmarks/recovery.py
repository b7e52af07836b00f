"""How long a job takes to train on after a fault, and where that time goes: `make benchmark-recovery`.

A job on the local cluster is disturbed once in each way. All times are in seconds from the fault, by the clock of this
machine and the kubelets' logs of pod 0; those of a lost node are counted from its being known to Kubernetes. Prints a
table and, with --json, the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from dev.demo.set_up import set_up
from dev.demo.volumes import NAMESPACE, in_loader, remove_loader

from e2e.survivor import Survivor, small_job
from qlora_api import names
from support.dev_cluster import DevCluster, Team
from support.nodes import RANK
from support.processes import wait_until

NAME = "recovery"
STANDBY_SECONDS = 30
"""In which the next ranks import what they need, on two cores and beside those that train."""
AIMS = {"killed rank": 15, "hung rank": None, "deleted pod": 30, "lost node": 60}
PARTS = ("detect", "tear down", "start", "import", "rendezvous", "load", "first step", "lost steps")
Event = tuple[float, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fault", choices=list(AIMS), action="append", help="only these")
    arguments = parser.parse_args()
    cluster = set_up()
    team = Team(DevCluster(), NAMESPACE)
    team.kubectl("delete", "qlorajob", NAME, "--ignore-not-found", "--cascade=foreground")
    in_loader(cluster, "rm", "-rf", f"/volumes/results/{NAME}")
    team.apply(small_job(NAME, steps=2000, runPolicy={"maxRestarts": 100}))
    job = Survivor(team, NAME)
    rows = {}
    try:
        for fault in arguments.fault or AIMS:
            job.train_on()
            time.sleep(STANDBY_SECONDS)
            with ExitStack() as undo:
                rows[fault] = measure(job, FAULTS[fault], undo)
    finally:
        team.kubectl("delete", "qlorajob", NAME)
        remove_loader(cluster)
    print(json.dumps(rows, indent=2) if arguments.json else table(rows))


def measure(job: Survivor, disturb: Callable[[Survivor, ExitStack], float], undo: ExitStack) -> dict[str, float]:
    """Seconds of each part of the recovery from one fault."""
    epochs = len(job.restarts_in_place), job.attempts[-1]["number"]
    fault_at = disturb(job, undo)
    wait_until(
        "ranks that have gone on",
        lambda: (len(job.restarts_in_place), job.attempts[-1]["number"]) != epochs and job.status["phase"] == "Running",
        timeout=400,
    )
    job.train_on(1)
    attempts = job.attempts
    if attempts[-1]["number"] != epochs[1]:
        before, restarted = attempts[-2], attempts[-1]
        noticed = seconds(before["completionTime"])
        launched = seconds(restarted["startTime"])
    else:
        before = job.restarts_in_place[-1]
        noticed = time_of(events(job), "gang", fault_at, state="Halt")
        launched = None
    log = events(job)
    began = time_of(log, "launched", noticed)
    imported = max(began, time_of(log, "imported", fault_at))
    training = time_of(log, "training", began)
    rendezvous = phase(log, "rendezvous", began)
    steps = [(at, event["step"]) for at, event in log if event["event"] == "step" and at >= training]
    first, new = steps[0][0], next(at for at, step in steps if step > before["toStep"])
    found = {
        "detect": noticed - fault_at,
        "tear down": (launched or began) - noticed,
        "start": began - launched if launched else 0.0,
        "import": imported - began,
        "rendezvous": rendezvous,
        "load": training - imported - rendezvous,
        "first step": first - training,
        "lost steps": new - first,
        "steps done again": float(steps[0][1] <= before["toStep"]) * (before["toStep"] - steps[0][1] + 1),
        "to the next optimizer step": first - fault_at,
    }
    return {what: round(figure, 1) for what, figure in found.items()}


def killed_rank(job: Survivor, undo: ExitStack) -> float:
    os.kill(job.process(1, RANK), signal.SIGKILL)
    return time.time()


def hung_rank(job: Survivor, undo: ExitStack) -> float:
    os.kill(job.process(1, RANK), signal.SIGSTOP)
    return time.time()


def deleted_pod(job: Survivor, undo: ExitStack) -> float:
    job.team.kubectl("delete", "pod", job.pods()[1]["metadata"]["name"], "--wait=false")
    return time.time()


def lost_node(job: Survivor, undo: ExitStack) -> float:
    """From the moment at which Kubernetes says that the node does not answer."""
    node = job.node(job.index_away_from_the_operator())
    undo.enter_context(node.cut_off())
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    wait_until(
        "the loss of the node",
        lambda: job.team.cluster.kubectl("get", "node", node.name, "-o", path) == "Unknown",
        timeout=120,
        pause=0.2,
    )
    return time.time()


FAULTS: dict[str, Callable[[Survivor, ExitStack], float]] = {
    "killed rank": killed_rank,
    "hung rank": hung_rank,
    "deleted pod": deleted_pod,
    "lost node": lost_node,
}


def events(job: Survivor) -> list[Event]:
    """Unix time and content of each event in the log of pod 0."""
    pod = job.pods()[0]["metadata"]["name"]
    text = job.team.kubectl("logs", "--timestamps", "-c", names.TRAINER_CONTAINER, pod)
    lines = [line.partition(" ") for line in text.splitlines()]
    return [(seconds(at), json.loads(line)) for at, _, line in lines if line.startswith('{"event"')]


def time_of(log: list[Event], name: str, since: float, **fields: str) -> float:
    """When an event came for the first time since a moment."""
    wanted = {"event": name, **fields}
    return next(at for at, event in log if at >= since and wanted.items() <= event.items())


def phase(log: list[Event], name: str, since: float) -> float:
    """How long a phase took that ended after a moment."""
    return float(next(event["seconds"] for at, event in log if at >= since and event.get("phase") == name))


def seconds(text: str) -> float:
    """Unix time of a time stamp, of which nine digits are more than Python reads."""
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def table(rows: dict[str, dict[str, float]]) -> str:
    head = ["fault", "to the next optimizer step", "aim", *PARTS, "steps done again"]
    lines = [head, ["---"] * len(head)]
    for fault, figures in rows.items():
        aim = AIMS[fault]
        parts = [f"{figures[part]:g}" for part in (*PARTS, "steps done again")]
        lines.append([fault, f"{figures[head[1]]:g} s", f"{aim} s" if aim else "", *parts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
