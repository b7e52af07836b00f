"""First pods that answer: fake nodes run no trainer, so a test gives a pod an address and serves it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qlora_api import names
from qlora_operator.views import POD, QLORA_JOB
from support.jobs import MERGE_PATCH, JobDriver


class TalkingPod:
    """Tells `figures` to whoever asks; every answer is one step further if `moves` is set."""

    def __init__(self, figures: dict[str, Any]) -> None:
        self.figures = figures
        self.moves = False
        self.asked = 0

    def answer(self) -> bytes:
        self.asked += 1
        if self.moves:
            self.figures["step"] += 1
        return json.dumps(self.figures).encode()


def first_figures(uid: str, attempt: int) -> dict[str, Any]:
    """What the first pod of a job tells after its first step."""
    return {
        "uid": uid,
        "attempt": attempt,
        "state": "Training",
        "step": 1,
        "of": 100_000,
        "fromStep": 0,
        "updated": 1.0,
    }


@contextmanager
def first_pod_talks(driver: JobDriver, job: str, address: str) -> Iterator[TalkingPod]:
    """Serves `/status` of the job's first pod on a loopback address, which the pod's status then names."""
    attempt = driver.status(job)["attempts"][-1]["number"]
    first = next(pod for pod in driver.pods(job) if pod["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempt))
    pod = TalkingPod(first_figures(driver.get(QLORA_JOB, job)["metadata"]["uid"], attempt))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pod.answer()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer((address, names.STATUS_PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    status = {"podIP": address, "podIPs": [{"ip": address}]}
    driver.patch_status(POD, first["metadata"]["name"], status, MERGE_PATCH)
    yield pod
    server.shutdown()
    server.server_close()
