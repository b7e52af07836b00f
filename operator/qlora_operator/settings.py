"""Settings of the operator, read from its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from qlora_operator.logs import LogFormat


@dataclass(frozen=True)
class Settings:
    """How this operator runs. Times are in seconds."""

    trainer_image: str | None
    """Image of jobs that name none."""
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...]
    """Secrets of the job's own namespace with which the trainer's image is pulled."""
    namespaces: tuple[str, ...]
    """Namespaces to watch; none means all."""
    workers: int
    """Jobs that are looked at side by side."""
    progress_interval: float
    """Time between two questions to the same job's first pod."""
    progress_budget: float
    """Questions to pods, and so progress updates of status, a second over all jobs."""
    resync_interval: float
    """Time between two complete lists of what is watched."""
    termination_grace_period: int
    """Time between SIGTERM and SIGKILL of a trainer pod."""
    lease_namespace: str | None
    """Namespace of the Lease that picks the working replica; None for a single replica."""
    port: int
    """Port of /healthz and /metrics."""
    log_format: LogFormat
    verbose: bool


def parse_arguments(arguments: Sequence[str] | None = None) -> Settings:
    """Reads the command line; exits with a sentence if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="qlora-operator",
        description="Watches QLoRAJobs and runs them on the cluster.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--trainer-image", help="image of jobs that name none")
    parser.add_argument(
        "--image-pull-policy",
        default="IfNotPresent",
        choices=("Always", "IfNotPresent", "Never"),
        help="of trainer pods",
    )
    parser.add_argument(
        "--image-pull-secret",
        action="append",
        default=[],
        help="Secret in the job's namespace to pull the trainer's image with, repeatable",
    )
    parser.add_argument("--namespace", action="append", default=[], help="namespace to watch, repeatable; default: all")
    parser.add_argument("--workers", type=int, default=16, help="jobs that are looked at side by side")
    parser.add_argument(
        "--progress-interval", type=float, default=5.0, help="seconds between two looks at a job's step"
    )
    parser.add_argument(
        "--progress-budget", type=float, default=5.0, help="looks and status updates a second, all jobs"
    )
    parser.add_argument("--resync-interval", type=float, default=300.0, help="seconds between two complete lists")
    parser.add_argument("--termination-grace-period", type=int, default=60, help="seconds a trainer has to stop")
    parser.add_argument("--lease-namespace", help="namespace of the Lease, for more than one replica")
    parser.add_argument("--port", type=int, default=8080, help="of /healthz and /metrics")
    parser.add_argument("--log-format", default="json", choices=("json", "text"))
    parser.add_argument("--verbose", action="store_true", help="log every decision")
    options = parser.parse_args(arguments)
    for name in ("progress_interval", "progress_budget", "resync_interval"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0")
    return Settings(
        trainer_image=options.trainer_image or None,
        image_pull_policy=options.image_pull_policy,
        image_pull_secrets=tuple(options.image_pull_secret),
        namespaces=tuple(options.namespace),
        workers=options.workers,
        progress_interval=options.progress_interval,
        progress_budget=options.progress_budget,
        resync_interval=options.resync_interval,
        termination_grace_period=options.termination_grace_period,
        lease_namespace=options.lease_namespace,
        port=options.port,
        log_format=options.log_format,
        verbose=options.verbose,
    )
