"""A cluster as tests talk to it: kubectl where a user's view matters, plain requests where only speed does."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import threading
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parents[2]
BINARIES = Path(os.environ.get("KUBERNETES_BINARIES", ROOT / ".cluster" / "bin"))
ADMIN = "admin"


class NotFoundError(OSError):
    """There is no such object, or not yet."""


class Cluster:
    """A cluster that tests can talk to."""

    audit_log: Path

    def kubeconfig(self, user: str = ADMIN) -> Path:
        raise NotImplementedError

    def kubectl(self, *arguments: str, input: str | None = None, user: str = ADMIN) -> str:
        return self.run_kubectl(*arguments, input=input, user=user, check=True).stdout

    def run_kubectl(
        self, *arguments: str, input: str | None = None, user: str = ADMIN, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        command = [str(BINARIES / "kubectl"), f"--kubeconfig={self.kubeconfig(user)}", *arguments]
        result = subprocess.run(command, input=input, capture_output=True, text=True, timeout=120, check=False)
        if check and result.returncode:
            raise subprocess.SubprocessError(f"kubectl {' '.join(arguments)}: {result.stderr}")
        return result

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request as the administrator; NotFoundError if there is no such object, OSError if it is refused."""
        for attempt in (1, 2):
            connection = self._connection()
            try:
                data = None if body is None else json.dumps(body)
                connection.request(method, path, data, {"Content-Type": content_type, "Accept": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
                break
            except (http.client.HTTPException, OSError):
                self._local.connection = None
                if attempt == 2:
                    raise
        if response.status == 404:
            raise NotFoundError(answer["message"])
        if response.status >= 400:
            raise OSError(f"{method} {path}: {response.status} {answer.get('message')}")
        return answer

    @cached_property
    def _local(self) -> threading.local:
        return threading.local()

    def connect(self, timeout: float | None = 30) -> http.client.HTTPSConnection:
        """A new connection as the administrator."""
        config = yaml.safe_load(self.kubeconfig().read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=self._file(cluster, "certificate-authority"))
        context.load_cert_chain(self._file(user, "client-certificate"), self._file(user, "client-key"))
        address = urlsplit(cluster["server"])
        return http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=timeout)

    def _connection(self) -> http.client.HTTPSConnection:
        """One connection a thread."""
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self.connect()
        return connection

    def _file(self, part: dict[str, str], name: str) -> str:
        """The path of a certificate or key, which a kubeconfig may hold itself."""
        if name in part:
            return part[name]
        path = Path(self._folder.name, name)
        path.write_bytes(base64.b64decode(part[f"{name}-data"]))
        return str(path)

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory()
