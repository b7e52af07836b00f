"""A proxy before an S3 server that throttles, cuts off, shortens and loses answers, as a test asks for."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)


class Request(NamedTuple):
    """One request as the proxy has seen it."""

    method: str
    path: str
    range: str


Trouble = Callable[[Request], str]
"""What happens to a request: throttle, reset or cut (within the body), shorten, lose (done, but not
answered) or nothing."""


def no_trouble(request: Request) -> str:
    """Everything goes through."""
    return ""


class Times:
    """The first few requests of a method on objects whose keys end so meet some trouble."""

    def __init__(self, trouble: str, times: int, method: str = "GET", ending: str = "") -> None:
        self._trouble, self._left, self._method, self._ending = trouble, times, method, ending
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> str:
        with self._lock:
            path = request.path
            is_meant = request.method == self._method and "list-type" not in path and path.endswith(self._ending)
            if not is_meant or self._left == 0:
                return ""
            self._left -= 1
            return self._trouble


class FaultyWay:
    """Passes requests on, signatures and all: the host header stays as it is."""

    def __init__(self, endpoint: str) -> None:
        way = self
        self.trouble: Trouble = no_trouble
        self.seen: list[Request] = []
        self.without_conditions: Callable[[str], str] | None = None
        """Signs the path of a write anew, so that it can go without its conditions, as to a store that ignores them."""
        upstream = endpoint.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, self.headers.get("Range", ""))
                way.seen.append(request)
                trouble = way.trouble(request)
                if trouble == "throttle":
                    self.answer(
                        503, {"Content-Type": "application/xml", "Content-Length": str(len(SLOW_DOWN))}, SLOW_DOWN
                    )
                    return
                connection = http.client.HTTPConnection(upstream, timeout=60)
                path, sent = self.path, dict(self.headers)
                if way.without_conditions is not None and self.command == "PUT":
                    path, sent = way.without_conditions(self.path), {}
                connection.request(self.command, path, body, sent)
                response = connection.getresponse()
                content = response.read()
                connection.close()
                headers = {name: value for name, value in response.getheaders() if name != "Transfer-Encoding"}
                if self.command != "HEAD":
                    headers["Content-Length"] = str(len(content))
                if trouble == "lose":
                    self.reset()
                    return
                if trouble == "shorten":
                    content = content[: len(content) // 2]
                    headers["Content-Length"] = str(len(content))
                half = content[: len(content) // 2] if trouble in ("reset", "cut") else content
                self.answer(response.status, headers, half)
                if trouble == "reset":
                    self.reset()
                if trouble == "cut":
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the names are the library's

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def reset(self) -> None:
                """Ends the connection with a reset instead of a farewell."""
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def shutdown_request(self, request: Any) -> None:
                self.close_request(request)  # without the shutdown, which would send a farewell

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
