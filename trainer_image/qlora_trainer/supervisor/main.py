"""The supervisor from start to end."""

from __future__ import annotations

import os
import shutil
import signal
import traceback

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_trainer import log, termination
from qlora_trainer.errors import StopRequested, TrainerError
from qlora_trainer.job import load_job
from qlora_trainer.paths import PodPaths
from qlora_trainer.supervisor.dns import wait_for_hosts
from qlora_trainer.supervisor.epochs import Epochs
from qlora_trainer.supervisor.gang.coordinator import Coordinator
from qlora_trainer.supervisor.gang.member import HttpLink, Link, Member
from qlora_trainer.supervisor.gang.messages import MemberReport, Order
from qlora_trainer.supervisor.gang.stall import StallClock
from qlora_trainer.supervisor.hostfile import check_hostfile, completion_index
from qlora_trainer.supervisor.outcome import exit_code
from qlora_trainer.supervisor.processes import adopt_orphans, wait_until
from qlora_trainer.supervisor.server import serve
from qlora_trainer.supervisor.status import Status

LINGER_SECONDS = 5.0
"""Time that pod 0 stays, after the end, for the others to hear of it."""


class StopRequest:
    """Remembers SIGTERM and SIGINT, which PID 1 would otherwise not even notice."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "received", True))

    def __call__(self) -> bool:
        """Whether the pod was asked to stop."""
        return self.received


def supervise(paths: PodPaths, dns_timeout: float, address: str = "") -> int:
    """Runs this pod's part of the job; every way out leaves a termination message.

    Args:
        paths: where things lie.
        dns_timeout: seconds to wait for the hosts' names.
        address: where to serve; empty for everywhere.

    Returns:
        The exit code: 0 after success, 143 if the pod was asked to stop, 1 otherwise.
    """
    stop = StopRequest()
    status: Status | None = None
    try:
        job = load_job(paths)
        status = Status(job, paths)
        outcome = _run(job, paths, status, stop, dns_timeout, address)
    except TrainerError as error:
        outcome = termination.failed(error.reason, error.message)
    except StopRequested:
        outcome = termination.failed(Reason.STOPPED, "asked to stop before the ranks were started")
    except Exception as error:
        traceback.print_exc()
        outcome = termination.failed(Reason.TRAINER_FAILED, f"supervisor: {type(error).__name__}: {error}")
    if status is not None:
        status.state = outcome.outcome
    termination.write(paths.termination_log, outcome)
    log.event("ended", outcome=outcome.outcome, reason=outcome.reason, message=outcome.message)
    return exit_code(outcome)


def _run(
    job: JobFile, paths: PodPaths, status: Status, stop: StopRequest, dns_timeout: float, address: str
) -> Termination:
    index = completion_index(os.environ.get("JOB_COMPLETION_INDEX"), job)
    coordinator = Coordinator(job, lambda: status.figures().step, status.restarted) if index == 0 else None
    serve(status, job.status_port, address, coordinator.receive if coordinator else None)
    check_hostfile(paths.hostfile, job)
    if not paths.sources.exists():
        raise TrainerError(Reason.TRAINER_FAILED, f"{paths.sources} is missing; run 'qlora-trainer fetch' first")
    shutil.rmtree(paths.outcomes, ignore_errors=True)
    paths.epoch.unlink(missing_ok=True)
    with log.phase("resolve_hosts", hosts=len(job.hosts)):
        wait_for_hosts(job.hosts, dns_timeout, is_stopping=stop)

    adopt_orphans()
    if coordinator is None:
        return _train(job, index, paths, status, stop, HttpLink(job.hosts[0], job.status_port))
    outcome = _train(job, index, paths, status, stop, _watchful(coordinator, status))
    if outcome.outcome == "Failed" and not stop():
        wait_until(lambda: stop() or coordinator.everyone_was_told_to_end, timeout=LINGER_SECONDS)
    return _with_finding(outcome, coordinator.finding)


def _train(job: JobFile, index: int, paths: PodPaths, status: Status, stop: StopRequest, link: Link) -> Termination:
    return Epochs(job, index, paths, status, Member(job, index, link), stop).until_the_end()


def _watchful(coordinator: Coordinator, status: Status) -> Link:
    """Pod 0's way to the coordinator, which has it look for a stall each time."""
    clock = StallClock()

    def link(report: MemberReport) -> Order | None:
        message = clock.stalled(status.figures())
        if message is not None:
            coordinator.find(Reason.STALLED, message)
        return coordinator.receive(report)

    return link


def _with_finding(outcome: Termination, finding: Termination | None) -> Termination:
    """What the coordinator has found out itself is told by pod 0, whose own ranks only know that they were stopped."""
    if finding is None or outcome.reason != Reason.PEER_LOST:
        return outcome
    return outcome.model_copy(update={"reason": finding.reason, "message": finding.message})
