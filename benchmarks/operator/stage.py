"""One control plane with both contenders on it, and what a user does there."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.operator.contenders import NULL_OPERATOR, Contender, Null, NullWithSamePods, Ours
from benchmarks.operator.tail import Tail

from qlora_operator.views import JOB, POD
from support.control_plane import ControlPlane
from support.processes import wait_until

NODES = 20
"""Of 500 pods each."""
CONNECTIONS = 16


class Stage:
    """The control plane, and jobs on it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.ours, self.null = Ours(plane), Null(plane)
        self.null_with_same_pods = NullWithSamePods(self.null, self.ours)
        self._threads = ThreadPoolExecutor(CONNECTIONS)

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """In the order in which they take turns."""
        return self.null, self.ours, self.null_with_same_pods

    def tail(self) -> Tail:
        return Tail(self.plane.audit_log)

    def at_once(self, act: Callable[[Any], object], over: Iterable[Any]) -> None:
        """Does something for each, over many connections."""
        list(self._threads.map(act, over))

    def post(self, contender: Contender, name: str, nodes: int) -> None:
        self.plane.request("POST", contender.kind.path(contender.namespace), contender.body(name, nodes))

    def post_many(self, contender: Contender, names: Iterable[str], nodes: int) -> None:
        """Creates the jobs over many connections; what is sent is made before."""
        path = contender.kind.path(contender.namespace)
        bodies = [contender.body(name, nodes) for name in names]
        self.at_once(lambda body: self.plane.request("POST", path, body), bodies)

    def items(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.plane.request("GET", path)["items"]
        return items

    def clear(self, contender: Contender) -> None:
        """Deletes all jobs of a contender and waits until nothing is left of them."""
        namespace = contender.namespace
        self.plane.request("DELETE", contender.kind.path(namespace) + "?propagationPolicy=Background")
        kinds = (contender.kind, JOB, POD)
        wait_until(
            f"an empty namespace {namespace}",
            lambda: not any(self.items(kind.path(namespace) + "?limit=1") for kind in kinds),
            timeout=180,
            pause=0.5,
        )

    def wait_until_all_pods_run(self, contender: Contender) -> None:
        path = POD.path(contender.namespace) + "?fieldSelector=status.phase!=Running"
        wait_until("running pods", lambda: not self.items(path), timeout=180, pause=0.5)


def own_address() -> str:
    """An address of this machine, at which a question to a pod is refused at once; nothing is sent to learn it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Starts everything, and ends it however the benchmark ends."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        users = {NULL_OPERATOR: f"/CN={NULL_OPERATOR}"}
        plane = ControlPlane(Path(folder), NODES, users, pod_address=own_address())
        stage = Stage(plane)
        try:
            plane.start()
            for contender in stage.contenders:
                contender.prepare()
                contender.start()
            yield stage
        finally:
            for contender in stage.contenders:
                contender.stop()
            plane.stop()
