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
from qlora_trainer.supervisor.cgroup import oom_kills
from qlora_trainer.supervisor.dns import wait_for_hosts
from qlora_trainer.supervisor.hostfile import check_hostfile, completion_index
from qlora_trainer.supervisor.launch import start
from qlora_trainer.supervisor.outcome import Ending, decide, exit_code, read_ranks
from qlora_trainer.supervisor.processes import adopt_orphans
from qlora_trainer.supervisor.server import serve
from qlora_trainer.supervisor.status import Status
from qlora_trainer.supervisor.watch import Watch, is_failure


class StopRequest:
    """Remembers SIGTERM and SIGINT, which PID 1 would otherwise not even notice."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "received", True))

    def __call__(self) -> bool:
        """Whether the pod was asked to stop."""
        return self.received


def supervise(paths: PodPaths, dns_timeout: float) -> int:
    """Runs this pod's part of the job; every way out leaves a termination message.

    Args:
        paths: where things lie.
        dns_timeout: seconds to wait for the hosts' names.

    Returns:
        The exit code: 0 after success, 143 if the pod was asked to stop, 1 otherwise.
    """
    stop = StopRequest()
    status: Status | None = None
    try:
        job = load_job(paths)
        status = Status(job, paths)
        serve(status, job.status_port)
        outcome = _run(job, paths, status, stop, dns_timeout)
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


def _run(job: JobFile, paths: PodPaths, status: Status, stop: StopRequest, dns_timeout: float) -> Termination:
    index = completion_index(os.environ.get("JOB_COMPLETION_INDEX"), job)
    check_hostfile(paths.hostfile, job)
    if not paths.sources.exists():
        raise TrainerError(Reason.TRAINER_FAILED, f"{paths.sources} is missing; run 'qlora-trainer fetch' first")
    shutil.rmtree(paths.outcomes, ignore_errors=True)
    paths.outcomes.mkdir(parents=True)
    paths.progress.unlink(missing_ok=True)
    with log.phase("resolve_hosts", hosts=len(job.hosts)):
        wait_for_hosts(job.hosts, dns_timeout, is_stopping=stop)

    status.state = "Launching"
    adopt_orphans()
    ranks = range(index * job.slots, (index + 1) * job.slots)
    kills_before = oom_kills()
    launcher = start(job, index, paths)
    log.event("launched", completion_index=index, world_size=job.world_size, pid=launcher.pid)

    def is_stopping() -> bool:
        if stop.received and status.state != "Stopping":
            status.state = "Stopping"
        return stop.received

    def has_failed() -> bool:
        return any(is_failure(outcome.reason) for outcome in read_ranks(paths, ranks).values() if outcome is not None)

    watch = Watch(launcher, job.termination_grace_period_seconds, is_stopping, has_failed)
    code = watch.until_the_end()
    kills_after = oom_kills()
    kills = None if kills_before is None or kills_after is None else kills_after - kills_before
    ending = Ending(read_ranks(paths, ranks), code, watch.outlived, stop.received, kills)
    return decide(ending)
