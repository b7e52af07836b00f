"""Trains epoch after epoch, for as long as the gang goes on in the living pods."""

from __future__ import annotations

import time
from collections.abc import Callable

from qlora_api.job_file import JobFile
from qlora_api.reasons import Reason
from qlora_api.report import Termination
from qlora_trainer import log, termination
from qlora_trainer.paths import PodPaths
from qlora_trainer.supervisor.cgroup import oom_kills
from qlora_trainer.supervisor.gang.coordinator import MISSING_SECONDS, SILENT_SECONDS
from qlora_trainer.supervisor.gang.member import Member
from qlora_trainer.supervisor.gang.messages import GangState, MemberState
from qlora_trainer.supervisor.launches import Launches
from qlora_trainer.supervisor.outcome import Ending, decide, read_ranks
from qlora_trainer.supervisor.status import Status
from qlora_trainer.supervisor.watch import Outside, Watch, is_failure

POLL_SECONDS = 0.05


class Epochs:
    """One pod's ranks, started as often as the gang wants.

    Args:
        job: the job.
        completion_index: this pod's.
        paths: where things lie.
        status: told of what goes on, and asked for the figures.
        member: the pod's part in the gang.
        is_stopping: whether the pod was asked to stop.
    """

    def __init__(
        self,
        job: JobFile,
        completion_index: int,
        paths: PodPaths,
        status: Status,
        member: Member,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._job = job
        self._paths = paths
        self._status = status
        self._member = member
        self._is_stopping = is_stopping
        self._launches = Launches(job, completion_index, paths)
        self._ranks = range(completion_index * job.slots, (completion_index + 1) * job.slots)
        self._is_short_of_memory = False

    def until_the_end(self) -> Termination:
        """Returns how the pod's ranks ended when the gang does not go on."""
        epoch = restarts = 0
        outcome: Termination | None = None
        try:
            while self._gathers(epoch):
                restarts = epoch
                outcome = self._train(epoch)
                self._is_short_of_memory |= outcome.reason == Reason.HOST_OUT_OF_MEMORY
                if outcome.outcome == "Succeeded" or self._is_stopping():
                    self._member.leave(epoch, outcome)
                    break
                self._member.tell(epoch, MemberState.ENDED, outcome)
                epoch += 1
            else:
                if self._is_stopping():
                    outcome = termination.failed(Reason.STOPPED, "asked to stop before the ranks were started")
        finally:
            self._launches.end()
        assert outcome is not None, "a gang ends only after it has trained, or when it is asked to stop"
        known = self._status.from_step
        return outcome.model_copy(
            update={
                "restarts": restarts,
                "restart_reasons": self._status.restart_reasons,
                "from_step": outcome.from_step if known is None else known,
            }
        )

    def _gathers(self, epoch: int) -> bool:
        """Waits until all pods are ready to start the epoch; returns whether it comes to that."""
        while not self._is_stopping():
            order = self._member.order
            if order is not None and order.state == GangState.END:
                return False
            if order is not None and order.epoch == epoch:
                if order.state == GangState.TRAIN:
                    return True
                self._status.state = "Waiting" if epoch == 0 else "Restarting"
                self._member.tell(epoch, MemberState.READY)
            elif epoch == 0:
                self._member.tell(epoch, MemberState.READY)
            elif self._member.silence > MISSING_SECONDS:
                log.event("coordinator_lost", host=self._job.hosts[0])
                return False
            time.sleep(POLL_SECONDS)
        return False

    def _train(self, epoch: int) -> Termination:
        kills_before = oom_kills()
        self._status.state = "Launching"
        launcher = self._launches.begin(epoch)
        self._member.tell(epoch, MemberState.RUNNING)
        outside = Outside(
            each_round=lambda: self._let_the_next_stand_by(epoch),
            is_stopping=self._stops,
            is_halted=lambda: self._halts(epoch),
            is_incomplete=self._is_incomplete,
            ended_ranks=lambda: self._ended_ranks(epoch),
            waiting_pid=lambda: self._launches.waiting_pid,
        )
        watch = Watch(launcher, self._job.termination_grace_period_seconds, outside)
        code = watch.until_the_end()
        kills_after = oom_kills()
        return decide(
            Ending(
                ranks=read_ranks(self._paths, epoch, self._ranks),
                exit_code=code,
                outlived=watch.outlived,
                vanished=watch.vanished,
                stopped=self._is_stopping(),
                halted=self._member.order.why if self._halts(epoch) and self._member.order else None,
                oom_kills=None if kills_before is None or kills_after is None else kills_after - kills_before,
            )
        )

    def _stops(self) -> bool:
        if self._is_stopping() and self._status.state != "Stopping":
            self._status.state = "Stopping"
        return self._is_stopping()

    def _let_the_next_stand_by(self, epoch: int) -> None:
        """Starts the next epoch's ranks once this one's have made a step, when their own start is over.

        Not in a pod whose memory has been too little once: what they take is then better left to those that train.
        """
        progress = self._status.figures()
        may_stand_by = epoch < self._job.max_restarts_in_place and not self._is_short_of_memory
        if may_stand_by and progress.state == "Training" and progress.step > (progress.resumed_step or 0):
            self._launches.stand_by(epoch + 1)

    def _halts(self, epoch: int) -> bool:
        """Whether the gang has left the epoch behind."""
        order = self._member.order
        if order is None:
            return False
        return order.epoch > epoch or (order.epoch == epoch and order.state in (GangState.HALT, GangState.END))

    def _is_incomplete(self) -> bool:
        """Whether another pod is gone, the coordinator's or one that it misses."""
        order = self._member.order
        return self._member.silence > SILENT_SECONDS or (order is not None and order.is_incomplete)

    def _ended_ranks(self, epoch: int) -> dict[int, bool]:
        outcomes = read_ranks(self._paths, epoch, self._ranks)
        return {rank: is_failure(outcome.reason) for rank, outcome in outcomes.items() if outcome is not None}
