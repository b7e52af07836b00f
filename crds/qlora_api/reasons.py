"""Why a job failed: one vocabulary for pods, conditions, events and metrics, and what follows from each reason.

`docs/failures.md` shows the same table to users; a test keeps the two alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why an attempt ended without an adapter."""

    MODEL_INVALID = "ModelInvalid"
    MODEL_ACCESS_DENIED = "ModelAccessDenied"
    DATASET_INVALID = "DatasetInvalid"
    RATE_LIMITED = "RateLimited"
    USER_ERROR = "UserError"
    DISK_FULL = "DiskFull"
    OUTPUT_NOT_WRITABLE = "OutputNotWritable"
    GPU_OUT_OF_MEMORY = "GPUOutOfMemory"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    COLLECTIVE_TIMEOUT = "CollectiveTimeout"
    LOSS_DIVERGED = "LossDiverged"
    HOSTFILE_INVALID = "HostfileInvalid"
    HOSTS_UNRESOLVED = "HostsUnresolved"
    LAUNCHER_VANISHED = "LauncherVanished"
    TRAINER_FAILED = "TrainerFailed"
    PEER_LOST = "PeerLost"
    STOPPED = "Stopped"
    STALLED = "Stalled"
    NODE_LOST = "NodeLost"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    POD_LOST = "PodLost"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    START_TIMEOUT = "StartTimeout"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


class Retry(StrEnum):
    """What follows from a reason."""

    NEVER = "never"
    """The same would happen again: the job fails at once."""
    SOON = "soon"
    """A new attempt, after a delay that grows while attempts make no step."""
    LATER = "later"
    """A new attempt after a longer delay: something outside has to change."""


@dataclass(frozen=True)
class Policy:
    """What the operator does about a reason."""

    retry: Retry
    counted: bool
    """Whether the attempt spends `runPolicy.maxRestarts`; what the cluster did to the job does not."""
    advice: str
    """What a user can do about it."""
    in_place: bool = False
    """Whether the pods may start their ranks again by themselves: the fault of a process, in pods that live on."""


POLICIES: dict[Reason, Policy] = {
    Reason.MODEL_INVALID: Policy(Retry.NEVER, True, "correct model.source"),
    Reason.MODEL_ACCESS_DENIED: Policy(Retry.NEVER, True, "correct the Secret of the hub or store, or ask for access"),
    Reason.DATASET_INVALID: Policy(Retry.NEVER, True, "correct the dataset"),
    Reason.RATE_LIMITED: Policy(Retry.LATER, True, "wait, or copy the source to a volume"),
    Reason.USER_ERROR: Policy(Retry.NEVER, True, "correct the field that the message names"),
    Reason.DISK_FULL: Policy(Retry.NEVER, True, "free space on the output's volume, or enlarge it"),
    Reason.OUTPUT_NOT_WRITABLE: Policy(Retry.NEVER, True, "make output.destination writable, a volume for user 10001"),
    Reason.GPU_OUT_OF_MEMORY: Policy(Retry.NEVER, True, "reduce training.microBatchSize or sequenceLength"),
    Reason.HOST_OUT_OF_MEMORY: Policy(Retry.SOON, True, "raise node.resources.memory", in_place=True),
    Reason.COLLECTIVE_TIMEOUT: Policy(Retry.SOON, True, "look at the network between the nodes", in_place=True),
    Reason.LOSS_DIVERGED: Policy(Retry.NEVER, True, "reduce training.learningRate, or look at the data"),
    Reason.HOSTFILE_INVALID: Policy(Retry.NEVER, True, "do not change the job's ConfigMap"),
    Reason.HOSTS_UNRESOLVED: Policy(Retry.LATER, True, "look at the cluster's DNS"),
    Reason.LAUNCHER_VANISHED: Policy(Retry.SOON, True, "read the pod's log", in_place=True),
    Reason.TRAINER_FAILED: Policy(Retry.SOON, True, "read the pod's log", in_place=True),
    Reason.PEER_LOST: Policy(Retry.SOON, True, "read the other pods' logs", in_place=True),
    Reason.STOPPED: Policy(Retry.SOON, False, "nothing: a pod was asked to stop"),
    Reason.STALLED: Policy(Retry.SOON, True, "read the pods' logs from the last step on", in_place=True),
    Reason.NODE_LOST: Policy(Retry.SOON, False, "nothing: the node is gone"),
    Reason.EVICTED: Policy(Retry.SOON, False, "nothing, unless the node was short of memory or disk"),
    Reason.PREEMPTED: Policy(Retry.SOON, False, "nothing: a job of higher priority took the place"),
    Reason.POD_LOST: Policy(Retry.SOON, False, "nothing: somebody deleted a pod or the Job"),
    Reason.IMAGE_PULL: Policy(Retry.NEVER, True, "correct node.image"),
    Reason.UNSCHEDULABLE: Policy(Retry.NEVER, True, "ask for less, or add nodes"),
    Reason.START_TIMEOUT: Policy(Retry.NEVER, True, "see what the condition Running said before"),
    Reason.DEADLINE_EXCEEDED: Policy(Retry.NEVER, True, "raise runPolicy.activeDeadline"),
}


CONSEQUENCES = frozenset({Reason.STOPPED, Reason.PEER_LOST, Reason.COLLECTIVE_TIMEOUT, Reason.POD_LOST})
"""Reasons that are usually the echo of a fault in another pod."""


def policy_of(reason: str) -> Policy:
    """The policy of a reason; an unknown one, from a newer trainer, is treated like a trainer's failure."""
    try:
        return POLICIES[Reason(reason)]
    except ValueError:
        return POLICIES[Reason.TRAINER_FAILED]
