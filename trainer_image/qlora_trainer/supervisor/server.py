"""The pod's HTTP server: `/status` for the operator, `/metrics` for Prometheus, `/healthz` for the kubelet.

In pod 0 it also takes the reports of the other pods' supervisors at `/gang`.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qlora_api.base import ApiModel
from qlora_trainer.supervisor.gang.messages import MESSAGE_LIMIT, MemberReport, Order
from qlora_trainer.supervisor.metrics import render
from qlora_trainer.supervisor.status import Status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        is_everywhere = not address[0] and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if is_everywhere or ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that did not wait for its answer: its traceback would fill the log."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def serve(
    status: Status, port: int, address: str = "", receive: Callable[[MemberReport], Order | None] | None = None
) -> ThreadingHTTPServer:
    """Serves in daemon threads until the process ends.

    Args:
        status: what `/status` and `/metrics` tell.
        port: 0 takes any free one.
        address: where to listen; empty for everywhere.
        receive: takes the other pods' reports, in pod 0.
    """
    pages: dict[str, tuple[str, Callable[[], bytes]]] = {
        "/status": ("application/json", lambda: _encode(status.progress())),
        "/metrics": ("text/plain; version=0.0.4; charset=utf-8", lambda: render(status)),
        "/healthz": ("text/plain", lambda: b"ok\n"),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            if page is None:
                self.send_error(404)
                return
            self._answer(page[0], page[1]())

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if self.path != "/gang" or receive is None or length > MESSAGE_LIMIT:
                self.send_error(404)
                return
            report = MemberReport.from_untrusted(self.rfile.read(length), MESSAGE_LIMIT)
            order = None if report is None else receive(report)
            if order is None:
                self.send_error(409, "not a report of this attempt")
                return
            self._answer("application/json", _encode(order))

        def _answer(self, content_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """Says nothing: the log is the training's."""

    server = _Server((address, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="status").start()
    return server


def _encode(model: ApiModel) -> bytes:
    return model.model_dump_json(by_alias=True, exclude_none=True).encode()
