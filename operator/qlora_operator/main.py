"""`qlora-operator`: reads the command line and runs Kopf."""

from __future__ import annotations

import logging

import kopf

from qlora_operator.handlers import build_registry
from qlora_operator.settings import parse_arguments


def main() -> None:
    """Runs until SIGTERM."""
    settings = parse_arguments()
    kopf.configure(
        verbose=settings.verbose,
        log_format=kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.PLAIN,
    )
    if not settings.verbose:
        logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # a line for every event that was seen
    kopf.run(
        registry=build_registry(settings),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
