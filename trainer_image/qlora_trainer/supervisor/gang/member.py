"""One pod's part in the gang: it tells the coordinator what it does, and remembers what it is told to do."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable

from qlora_api.job_file import JobFile
from qlora_api.report import Termination
from qlora_trainer.supervisor.gang.messages import MESSAGE_LIMIT, MemberReport, MemberState, Order

POLL_SECONDS = 1.0
HURRY_SECONDS = 0.2
"""Between two questions while no rank runs."""
TIMEOUT = 3.0

Link = Callable[[MemberReport], Order | None]
"""Brings a report to the coordinator and its order back; None if there was no answer."""


class HttpLink:
    """The way to a coordinator in another pod: `POST /gang`."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def __call__(self, report: MemberReport) -> Order | None:
        """The coordinator's order, or None if it does not answer."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            body = report.model_dump_json(by_alias=True, exclude_none=True).encode()
            connection.request("POST", "/gang", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read(MESSAGE_LIMIT + 1)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return Order.from_untrusted(data, MESSAGE_LIMIT) if response.status == http.HTTPStatus.OK else None


class Member:
    """Asks in a thread of its own, so that a slow network does not hold up the supervisor."""

    def __init__(self, job: JobFile, completion_index: int, link: Link) -> None:
        self._job = job
        self._completion_index = completion_index
        self._link = link
        self._report: MemberReport | None = None
        self._order: Order | None = None
        self._answered = time.monotonic()
        self._news = threading.Event()
        threading.Thread(target=self._ask_for_ever, daemon=True, name="gang").start()

    @property
    def order(self) -> Order | None:
        """What the gang does, as far as is known."""
        return self._order

    @property
    def silence(self) -> float:
        """Seconds since the coordinator's last answer."""
        return time.monotonic() - self._answered

    def tell(self, epoch: int, state: MemberState, outcome: Termination | None = None) -> None:
        """Says what this pod does from now on."""
        self._report = self._make(epoch, state, outcome, leaves=False)
        self._news.set()

    def leave(self, epoch: int, outcome: Termination) -> None:
        """Says how the pod's ranks ended before the pod goes, whatever the others do."""
        self._report = self._make(epoch, MemberState.ENDED, outcome, leaves=True)
        self._link(self._report)

    def _make(self, epoch: int, state: MemberState, outcome: Termination | None, leaves: bool) -> MemberReport:
        return MemberReport(
            uid=self._job.uid,
            attempt=self._job.attempt,
            completion_index=self._completion_index,
            epoch=epoch,
            state=state,
            outcome=outcome,
            leaves=leaves,
        )

    def _ask_for_ever(self) -> None:
        while True:
            report = self._report
            if report is not None:
                order = self._link(report)
                if order is not None:
                    self._order, self._answered = order, time.monotonic()
            is_running = report is not None and report.state == MemberState.RUNNING
            self._news.wait(POLL_SECONDS if is_running else HURRY_SECONDS)
            self._news.clear()
