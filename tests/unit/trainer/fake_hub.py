"""As much of the Hugging Face hub as one download needs: repository facts, and files by revision."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves one model, `org/name`, from a folder; every other repository is not open."""

    def __init__(self, folder: Path, token: str) -> None:
        hub = self
        self.folder, self.token, self.asked = folder, token, list[str]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                if self.headers.get("Authorization") != f"Bearer {hub.token}" or "/org/name" not in self.path:
                    self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
                elif self.path.startswith("/api/"):
                    files = sorted(file.name for file in hub.folder.iterdir())
                    facts = {"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                    tree = [
                        {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "a" * 40}
                        for file in sorted(hub.folder.iterdir())
                    ]
                    self.answer(200, json.dumps(tree if "/tree/" in self.path else facts).encode())
                else:
                    content = (hub.folder / self.path.rpartition("/")[2]).read_bytes()
                    etag = hashlib.sha256(content).hexdigest()
                    self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

            do_HEAD = do_GET  # noqa: N815 - the name is the library's

            def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
