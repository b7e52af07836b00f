"""The pod's HTTP server: `/status` for the operator, `/metrics` for Prometheus, `/healthz` for the kubelet."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qlora_trainer.supervisor.metrics import render
from qlora_trainer.supervisor.status import Status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(status: Status, port: int) -> ThreadingHTTPServer:
    """Serves in daemon threads until the process ends; port 0 takes any free one."""
    pages: dict[str, tuple[str, Callable[[], bytes]]] = {
        "/status": (
            "application/json",
            lambda: status.progress().model_dump_json(by_alias=True, exclude_none=True).encode(),
        ),
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
            body = page[1]()
            self.send_response(200)
            self.send_header("Content-Type", page[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """Says nothing: the log is the training's."""

    server = _Server(("", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="status").start()
    return server
