"""`qlora run`: attempt after attempt, until the job has succeeded, has failed for good, or is stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from qlora_api.durations import format_duration, parse_duration
from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason, policy_of
from qlora_api.report import Progress
from qlora_api.spec import QLoRAJobSpec
from qlora_api.status import Phase, QLoRAJobStatus
from qlora_cli import record
from qlora_cli.attempt import Ended, run_attempt
from qlora_cli.begin import begin
from qlora_cli.check import check_job, read_job
from qlora_cli.cluster_fields import check_place, unused_fields
from qlora_cli.display import Display
from qlora_cli.hosts import free_ports, loopback_hosts
from qlora_cli.machine import check_libraries, devices, threads
from qlora_cli.pod import Pod
from qlora_cli.stop import Stop
from qlora_cli.volumes import local_path, needed_volumes
from qlora_cli.work_folder import Body, WorkFolder
from qlora_operator.plan.budget import HOUR, delay, exhausted
from qlora_operator.plan.ladder import step_down
from qlora_trainer.paths import DEVICES_VARIABLE

GRACE_SECONDS = 60
"""As the operator gives its pods."""


def run(file: Path, given: Mapping[str, Path], work_folder: Path | None, is_new: bool) -> int:
    """Trains the job of a file on this machine.

    Args:
        file: YAML of a QLoRAJob.
        given: folder of each claim.
        work_folder: where logs and state go; None for a folder beside the file.
        is_new: whether to forget what an earlier run has done.

    Returns:
        The exit code: 0 only after success.

    Raises:
        Refused: the job, or what this machine has for it, does not fit; nothing has run.
    """
    check_libraries()
    body = read_job(file)
    spec = check_job(body)
    check_place(spec)
    volumes = needed_volumes(spec, given)
    gpus = devices(spec)
    folder = WorkFolder(work_folder or file.parent / ".qlora" / body["metadata"]["name"])
    uid, status = begin(folder, body, is_new)
    folder.mount(volumes)
    return _LocalRun(body, spec, uid, status, volumes, gpus, folder).until_the_end()


class _LocalRun:
    """One command's work on one job."""

    def __init__(
        self, body: Body, spec: QLoRAJobSpec, uid: str, status: QLoRAJobStatus, volumes: Mapping[str, Path],
        gpus: list[list[str]], folder: WorkFolder,
    ) -> None:  # fmt: skip
        self._body, self._spec, self._uid, self._status = body, spec, uid, status
        self._volumes, self._gpus, self._folder = volumes, gpus, folder
        self._console = Console()
        self._stop = Stop()
        self._counted = 0
        self._disruptions: list[float] = []

    def until_the_end(self) -> int:
        output = local_path(self._spec.output.destination, self._volumes)
        if self._status.phase == Phase.SUCCEEDED and (output / "adapter").exists():
            self._say(f"{self._name} has succeeded already: {output / 'adapter'}; to train it again write --new")
            return 0
        self._introduce()
        self._stop.install()
        while True:
            ended = self._attempt()
            outcome, reason = ended.outcome, ended.outcome.reason or Reason.TRAINER_FAILED
            if outcome.outcome == "Succeeded":
                self._close("Succeeded", ended, Phase.SUCCEEDED, str(output / "adapter"))
                self._say(f"Succeeded: step {outcome.step}/{outcome.of}, loss {outcome.loss}: {output / 'adapter'}")
                return 0
            if self._stop.requested:
                self._close(record.SUSPENDED, ended, Phase.SUSPENDED)
                self._say(f"Stopped: {outcome.message}. To go on, run the same command again.")
                return self._stop.exit_code
            self._counted += ended.restarts
            recent = sum(time.monotonic() - then < HOUR for then in self._disruptions)
            less = step_down(self._spec, reason, outcome, self._status.portion)
            end = None if less else exhausted(reason, self._spec.run_policy, self._counted, recent)
            if end is not None:
                self._close(reason, ended, Phase.FAILED)
                self._explain(reason, ended, end)
                return 1
            if less is not None:
                outcome = outcome.model_copy(update={"message": less.message})
                ended = replace(ended, outcome=outcome)
                self._status = self._status.model_copy(update={"portion": less.portion})
            elif policy_of(reason).counted:
                self._counted += 1
            else:
                self._disruptions.append(time.monotonic())
            self._close(reason, ended, Phase.RESTARTING)
            seconds = delay(self._status.attempts)
            self._say(f"{reason}: {outcome.message}; next attempt in {format_duration(seconds)}; {ended.pod.log}")
            self._stop.wait(seconds)
            if self._stop.requested:
                self._keep(record.finished(self._status, Phase.SUSPENDED, _now()))
                self._say("Stopped between two attempts. To go on, run the same command again.")
                return self._stop.exit_code

    def _attempt(self) -> Ended:
        before = record.active_seconds(self._status.attempts)
        self._keep(record.begun(self._status, _now()))
        pods = self._pods(self._status.attempts[-1].number)
        limit = self._spec.run_policy.active_deadline
        deadline = None if limit is None else time.monotonic() + parse_duration(limit) - before
        with Display(self._console) as display:

            def tell(progress: Progress) -> None:
                display(progress)
                had_trained = record.has_trained(self._status)
                self._status = record.with_progress(self._status, progress)
                if record.has_trained(self._status) and not had_trained:  # later steps are kept when the attempt ends
                    self._folder.write(self._body, self._uid, self._status)

            return run_attempt(pods, GRACE_SECONDS, deadline, self._stop, tell)

    def _pods(self, attempt: int) -> list[Pod]:
        spec = self._spec
        master_port, status_port = free_ports()
        job = JobFile(
            name=self._name,
            namespace=self._body["metadata"].get("namespace", "default"),
            uid=self._uid,
            attempt=attempt,
            hosts=loopback_hosts(spec.nodes),
            slots=spec.node.slots,
            master_port=master_port,
            status_port=status_port,
            max_restarts_in_place=max(0, spec.run_policy.max_restarts - self._counted),
            termination_grace_period_seconds=GRACE_SECONDS,
            portion=self._status.portion,
            spec=spec,
        )
        pods = []
        for index in range(spec.nodes):
            variables = {DEVICES_VARIABLE: ",".join(self._gpus[index])} if self._gpus[index] else {}
            share = threads(spec)
            if share is not None and "OMP_NUM_THREADS" not in os.environ:
                variables["OMP_NUM_THREADS"] = str(share)
            root = self._folder.pod(attempt, index)
            pod = Pod(root, index, job, self._folder.volumes, variables, self._folder.lock)
            for kind in ("model", "dataset"):
                (pod.paths.work / kind).symlink_to(self._folder.downloads(kind))
            pods.append(pod)
        return pods

    def _introduce(self) -> None:
        spec = self._spec
        where = "without a GPU" if spec.node.accelerator == "cpu" else "on GPUs"
        self._say(f"{self._name}: {spec.nodes} pods x {spec.node.slots} slots on this machine, {where}")
        unused = unused_fields(self._body["spec"])
        if unused:
            self._say(f"not used on one machine: {', '.join(unused)}")
        self._say(f"logs: {self._folder.root}/attempt-*/pod-*/log")

    def _explain(self, reason: str, ended: Ended, why: str) -> None:
        self._say(f"Failed: {reason}: {ended.outcome.message}{f'; {why}' if why else ''}")
        self._say(f"What to do: {policy_of(reason).advice}; then run the same command again")
        self._say(f"Log: {ended.pod.log}")

    def _close(self, reason: str, ended: Ended, phase: Phase, adapter: str | None = None) -> None:
        now = _now()
        self._keep(
            record.finished(record.ended(self._status, reason, ended.outcome, ended.last, now), phase, now, adapter)
        )

    def _keep(self, status: QLoRAJobStatus) -> None:
        self._status = status
        self._folder.write(self._body, self._uid, status)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @property
    def _name(self) -> str:
        name: str = self._body["metadata"]["name"]
        return name


def _now() -> datetime:
    return datetime.now(UTC)
