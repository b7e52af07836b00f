"""Waits until every host of the job has a DNS name."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from qlora_api.reasons import Reason
from qlora_trainer.errors import StopRequested, TrainerError


def wait_for_hosts(
    hosts: Sequence[str], timeout: float, is_stopping: Callable[[], bool], poll_seconds: float = 0.5
) -> None:
    """Returns once every host resolves. Names appear as pods are started, in any order.

    Args:
        hosts: DNS names or addresses.
        timeout: seconds in all.
        is_stopping: asked before each round.
        poll_seconds: pause between two rounds.

    Raises:
        TrainerError: HostsUnresolved, with the hosts that are missing.
        StopRequested: the pod was asked to stop.
    """
    deadline = time.monotonic() + timeout
    missing = list(hosts)
    while True:
        if is_stopping():
            raise StopRequested
        missing = [host for host in missing if not _resolves(host)]
        if not missing:
            return
        if time.monotonic() >= deadline:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise TrainerError(
                Reason.HOSTS_UNRESOLVED,
                f"no DNS name for {missing[0]}{others} after {timeout:.0f} s; see whether its pod was scheduled and "
                "its image pulled",
            )
        time.sleep(poll_seconds)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
