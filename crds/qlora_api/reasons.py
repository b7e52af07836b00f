"""Why a job failed: one vocabulary for pods, conditions, events and metrics."""

from __future__ import annotations

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
    POD_LOST = "PodLost"
    IMAGE_PULL = "ImagePull"
