"""A namespace with an operator, a proxy and nodes of its own: what is done in one lane is not felt in another."""

from __future__ import annotations

import difflib
import itertools
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from builders import volume_bodies
from faults.end_state import EndState, end_state
from faults.history import History
from faults.invariants import violations
from faults.kinds import ReadFault, WriteFault
from faults.play import LANE, NODES, PATIENCE, Play
from faults.proxy import FaultProxy, Write
from faults.workloads import WORKLOADS
from qlora_operator.views import KINDS
from support.control_plane import OPERATOR, ControlPlane, node_body
from support.operator_process import Operator
from support.processes import wait_until

CALM = 0.5
"""Seconds without a write after which a run has ended that has come to the state of the undisturbed one."""
LONG_CALM = 4.0
"""The same for a run whose fault may still come, or that says itself what is to be expected."""
_jobs = itertools.count(1)


@dataclass(frozen=True)
class Case:
    """A workload, and what is done to the operator meanwhile."""

    workload: str
    write_fault: tuple[int, WriteFault] | None = None
    read_fault: ReadFault | None = None

    def __str__(self) -> str:
        if self.write_fault is not None:
            return f"{self.workload}, write {self.write_fault[0]}: {self.write_fault[1]}"
        return f"{self.workload}: {self.read_fault or 'undisturbed'}"


@dataclass(frozen=True)
class Expectation:
    """What the undisturbed run has come to."""

    state: EndState
    events: list[str]


@dataclass
class Outcome:
    """How a case has ended."""

    case: Case
    namespace: str
    job: str
    writes: list[Write] = field(default_factory=list)
    state: EndState | None = None
    events: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    was_disturbed: bool = False
    ended_at: float = 0.0
    """Seconds of the monotonic clock."""

    def __str__(self) -> str:
        writes = [f"  {number}: {write}" for number, write in enumerate(self.writes)]
        return "\n".join([f"{self.case} ({self.namespace}/{self.job})", *self.problems, "writes:", *writes])


class Lane(Operator):
    """Runs one case after the other; the operator is started again whenever it was killed."""

    def __init__(self, plane: ControlPlane, history: History, number: int, folder: Path) -> None:
        super().__init__(plane, folder)
        self.namespace = f"lane-{number}"
        self._plane = plane
        self._history = history
        self.proxy = FaultProxy(plane.url, plane.folder, OPERATOR, kill=self.kill)
        self.kubeconfig = folder / "kubeconfig"
        self._stopping = threading.Event()
        self._killed: set[int] = set()
        self._deaths: list[str] = []

    def begin(self) -> None:
        """Makes the namespace and starts the operator in it."""
        self.proxy.start()
        self.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(self.proxy.port)))
        self._plane.kubectl("create", "namespace", self.namespace)
        volumes = [body for claim in ("models", "data", "results") for body in volume_bodies(self.namespace, claim)]
        nodes = [node_body(f"{self.namespace}-node-{index}", {LANE: self.namespace}) for index in range(NODES)]
        self._plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all([*volumes, *nodes]))
        self._keeper = threading.Thread(target=self._keep_running, daemon=True)
        self._keeper.start()

    def wait_until_watching(self) -> None:
        """The operator has listed and watches everything."""
        wait_until(f"the operator of {self.namespace}", lambda: self.proxy.watched == len(KINDS), timeout=120)

    def _keep_running(self) -> None:
        while not self._stopping.is_set():
            self.process = self._spawn(f"--namespace={self.namespace}", "--resync-interval=5")
            code = self.process.wait()
            if self.process.pid not in self._killed:
                self._deaths.append(f"the operator ended by itself with {code}:\n{self.process.tail()}")

    def kill(self) -> None:
        self._killed.add(self.pid)
        super().kill()

    def stop(self) -> None:
        self._stopping.set()
        self.kill()
        self._keeper.join()
        self.proxy.stop()

    def run(self, case: Case, expected: Expectation | None) -> Outcome:
        """Plays a case to its end; without an expectation, it says what is to be expected."""
        play = Play(self._plane, self._history, self.namespace, f"c{next(_jobs)}")
        outcome = Outcome(case, self.namespace, play.job)
        self.proxy.arm(play.job, case.write_fault, case.read_fault)
        self._deaths = []
        try:
            WORKLOADS[case.workload](play)
            self._settle(play, expected, awaits_fault=case.write_fault is not None)
        except (AssertionError, OSError) as error:
            outcome.problems.append(str(error))
        outcome.ended_at = time.monotonic()
        outcome.writes = self.proxy.writes
        outcome.state, outcome.events = end_state(play), play.events()
        outcome.problems += violations(self._history.of(self.namespace, play.job))
        outcome.problems += _differences(outcome, expected)
        outcome.was_disturbed = self.proxy.fired
        if case.write_fault is not None and not self.proxy.fired:
            outcome.problems.append("the fault did not happen: there was no such write")
        outcome.problems += self._deaths
        return outcome

    def _settle(self, play: Play, expected: Expectation | None, *, awaits_fault: bool) -> None:
        self.wait_until_watching()
        began = time.monotonic()

        def settled() -> bool:
            writes = self.proxy.writes
            calm = time.monotonic() - max([began, *(write.at for write in writes)])
            enough = LONG_CALM if expected is None or (awaits_fault and not self.proxy.fired) else CALM
            return calm > enough and (expected is None or end_state(play) == expected.state)

        try:
            wait_until("the state of the undisturbed run, and calm", settled, timeout=PATIENCE)
        except AssertionError:
            if expected is None:
                raise  # else the difference says more


def _differences(outcome: Outcome, expected: Expectation | None) -> list[str]:
    if expected is None:
        return []
    problems = []
    if outcome.state != expected.state:
        wanted, found = str(expected.state).splitlines(), str(outcome.state).splitlines()
        problems.append("\n".join(difflib.unified_diff(wanted, found, "undisturbed", "disturbed", lineterm="", n=1)))
    left = list(expected.events)
    for event in outcome.events:
        if event in left:
            left.remove(event)
        else:
            problems.append(f"one Event too many: {event}")
    return problems


def _kubeconfig(port: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "proxy",
    }
