"""As much of the Hugging Face hub as a download and an upload need: facts, files by revision, LFS and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves one model, `org/name`, from a folder; every other repository is not open.

    What is uploaded replaces that folder's files with one commit; safetensors go the way of large files.
    """

    def __init__(self, folder: Path, token: str) -> None:
        hub = self
        self.folder, self.token, self.asked = folder, token, list[str]()
        self.made: list[dict[str, Any]] = []
        self.commits: list[list[str]] = []
        self.refuse: dict[str, int] = {}
        """Status with which a part of a path is answered."""
        large: dict[str, bytes] = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                if self.is_refused():
                    return
                if self.path.endswith("/auth-check/write"):
                    self.answer(200, b"{}")
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

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hub.asked.append(f"{self.command} {self.path}")
                if self.is_refused():
                    return
                if self.path == "/api/repos/create":
                    hub.made.append(json.loads(body))
                    self.answer(200, json.dumps({"url": f"{hub.address}/org/name"}).encode())
                elif self.path == "/api/validate-yaml":
                    self.answer(200, json.dumps({"errors": [], "warnings": []}).encode())
                elif "/preupload/" in self.path:
                    modes = [upload_mode(file) for file in json.loads(body)["files"]]
                    self.answer(200, json.dumps({"files": modes}).encode())
                elif self.path.endswith("/info/lfs/objects/batch"):
                    objects = [{**wanted, **lfs_action(wanted["oid"])} for wanted in json.loads(body)["objects"]]
                    self.answer(200, json.dumps({"transfer": "basic", "objects": objects}).encode())
                elif "/commit/" in self.path:
                    lines = [json.loads(line) for line in body.splitlines()]
                    hub.commits.append([keep(line) for line in lines if line["key"] in ("file", "lfsFile")])
                    commit = {"commitOid": COMMIT, "commitUrl": f"{hub.address}/org/name/commit/{COMMIT}"}
                    self.answer(200, json.dumps({"success": True, **commit}).encode())
                else:
                    self.answer(404, b"{}")

            def do_PUT(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                content = self.rfile.read(int(self.headers["Content-Length"]))
                large[hashlib.sha256(content).hexdigest()] = content
                self.answer(200, b"")

            def is_refused(self) -> bool:
                if self.path == "/api/validate-yaml":
                    return False
                status = next((status for part, status in hub.refuse.items() if part in self.path), None)
                is_open = "/org/name" in self.path or self.path == "/api/repos/create"
                if self.headers.get("Authorization") != f"Bearer {hub.token}" or not is_open:
                    self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
                elif status is not None:
                    self.answer(status, b'{"error": "no"}')
                else:
                    return False
                return True

            def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        def upload_mode(file: dict[str, Any]) -> dict[str, Any]:
            mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
            there = hub.folder / file["path"]
            oid = content_id(there.read_bytes(), mode) if there.exists() else None
            return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

        def lfs_action(oid: str) -> dict[str, Any]:
            return {} if oid in large else {"actions": {"upload": {"href": f"{hub.address}/lfs/{oid}", "header": {}}}}

        def keep(line: dict[str, Any]) -> str:
            value = line["value"]
            content = large[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])
            (hub.folder / value["path"]).write_bytes(content)
            return str(value["path"])

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def content_id(content: bytes, mode: str) -> str:
    """As git names a file, or as LFS does."""
    if mode == "lfs":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
