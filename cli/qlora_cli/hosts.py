"""Addresses and ports that stand for the pods' DNS names: each pod has one of this machine's loopback addresses."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

FIRST = IPv4Address("127.0.0.1")


def loopback_hosts(nodes: int) -> list[str]:
    """127.0.0.1, 127.0.0.2, ..."""
    return [str(FIRST + index) for index in range(nodes)]


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on at this moment."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("0.0.0.0", 0))  # noqa: S104 - on every address, and closed at once
        return one.getsockname()[1], other.getsockname()[1]
