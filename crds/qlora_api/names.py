"""Labels, names of children, paths in the pod: every string that two programs must agree on."""

from __future__ import annotations

GROUP = "qlora.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "QLoRAJob"
PLURAL = "qlorajobs"

LABEL_JOB = f"{GROUP}/job"
LABEL_JOB_UID = f"{GROUP}/job-uid"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_PRIORITY_CLASS = "kueue.x-k8s.io/priority-class"

JOB_DIRECTORY = "/job"
JOB_FILE = f"{JOB_DIRECTORY}/job.json"
HOSTFILE = f"{JOB_DIRECTORY}/hostfile"
VOLUMES_DIRECTORY = "/volumes"
IMAGES_DIRECTORY = "/images"
WORK_DIRECTORY = "/work"
TERMINATION_LOG = "/dev/termination-log"

ACCESS_KEY_VARIABLE = "AWS_ACCESS_KEY_ID"
SECRET_KEY_VARIABLE = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of the variable
SESSION_TOKEN_VARIABLE = "AWS_SESSION_TOKEN"  # noqa: S105
"""Keys of the Secret of an object store, and variables of the containers that use it: the names are AWS's own."""

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105
"""Token that may read from the hub, under the name that the hub's library looks for."""
PUSH_TOKEN_VARIABLE = "HF_PUSH_TOKEN"  # noqa: S105
"""Token that may write to the hub."""

STATUS_PORT = 8471
MASTER_PORT = 29500

INIT_CONTAINER = "fetch"
TRAINER_CONTAINER = "trainer"

NAME_MAX_LENGTH = 45
"""A pod's host name, `<name>-<attempt>-<index>`, has to fit a DNS label of 63 characters."""


def service_name(job: str) -> str:
    """The headless Service that gives the pods of every attempt their host names."""
    return job


def attempt_name(job: str, attempt: int) -> str:
    """The ConfigMap and the Job of one attempt."""
    return f"{job}-{attempt}"


def job_of(kind: str, name: str) -> str | None:
    """The QLoRAJob that an object of that name belongs to, or is; None for kinds that a job does not have.

    A pod of an Indexed Job is called `<Job>-<completion index>-<random>` by Kubernetes.
    """
    dashes = {KIND: 0, "Service": 0, "ConfigMap": 1, "Job": 1, "Pod": 3}.get(kind)
    return None if dashes is None else name.rsplit("-", dashes)[0]


def host_name(job: str, attempt: int, completion_index: int) -> str:
    """The DNS name of one pod, resolvable from every pod of the namespace."""
    return f"{attempt_name(job, attempt)}-{completion_index}.{service_name(job)}"
