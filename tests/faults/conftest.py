"""The operator behind a fault proxy, on the control plane of the integration tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from faults.proxy import FaultProxy, WatchFault
from support.control_plane import OPERATOR, ControlPlane
from support.fixtures import control_plane, driver
from support.operator_process import Operator
from support.processes import wait_until

__all__ = ["control_plane", "driver"]


class DisturbedOperator(Operator):
    """Talks to the API server through the proxy, and is started again whenever it was killed."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        super().__init__(plane, folder)
        self.proxy = FaultProxy(plane.url, plane.folder, OPERATOR, kill=self.kill)
        self.proxy.start()
        server = {"server": f"http://127.0.0.1:{self.proxy.port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": server}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "current-context": "proxy",
        }
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def keep_running(self) -> None:
        """Starts the operator, and starts it again whenever it is dead, until `stop`."""
        self.start()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._restart_for_ever, daemon=True)
        self._keeper.start()

    def _restart_for_ever(self) -> None:
        while not self._stopping.wait(0.2):
            if self.process is not None and not self.process.alive():
                with suppress(AssertionError):  # killed again while it started
                    self.start()

    def restart_with(self, watch_fault: WatchFault) -> None:
        """A watch is disturbed from its beginning, so the operator has to begin anew."""
        self.proxy.arm(watch_fault=watch_fault)
        self.kill()
        wait_until("the operator is back", lambda: self.process is not None and self.process.alive() and self.healthy())

    def wait_until_calm(self, seconds: float = 1.5) -> None:
        """Returns when there was no write for a while."""
        before = -1
        while len(self.proxy.writes) != before:
            before = len(self.proxy.writes)
            time.sleep(seconds)

    def stop(self) -> None:
        self._stopping.set()
        self._keeper.join()
        super().stop()
        self.proxy.stop()


@pytest.fixture(scope="session")
def disturbed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DisturbedOperator]:
    operator = DisturbedOperator(control_plane, tmp_path_factory.mktemp("disturbed"))
    operator.keep_running()
    yield operator
    operator.stop()
