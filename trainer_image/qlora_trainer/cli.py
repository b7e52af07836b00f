"""`qlora-trainer`: one subcommand for each thing that a pod does, and one to talk to the result."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from qlora_trainer.paths import ROOT_VARIABLE, PodPaths


def main() -> None:
    """Runs a subcommand and exits with its code. Each imports only what it needs."""
    arguments = _parser().parse_args()
    if arguments.command == "ask":
        from qlora_trainer.ask import ask

        ask(arguments.model, arguments.adapter, arguments.question, arguments.max_new_tokens)
        return
    if arguments.root is not None:
        os.environ[ROOT_VARIABLE] = str(arguments.root.absolute())
    paths = PodPaths.from_environment()
    if arguments.command == "preview":
        _preview(paths, arguments)
        return
    if arguments.command == "fetch":
        from qlora_trainer.fetch.command import run_fetch

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as PID 1 it would be ignored
        sys.exit(run_fetch(paths))
    from qlora_trainer.supervisor.main import supervise

    sys.exit(supervise(paths, dns_timeout=arguments.dns_timeout, address=arguments.bind))


def _preview(paths: PodPaths, arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from qlora_trainer.errors import TrainerError
    from qlora_trainer.preview import preview

    try:
        preview(paths, arguments.job, arguments.step, arguments.rows, Console())
    except TrainerError as error:
        sys.exit(error.message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="qlora-trainer", description="What runs in the pods of a QLoRAJob.")
    commands = parser.add_subparsers(dest="command", required=True)

    fetch = commands.add_parser("fetch", help="check and bring model and dataset (the init container)")
    run = commands.add_parser("run", help="start DeepSpeed and watch over it (the main container)")
    run.add_argument(
        "--dns-timeout", type=float, default=600.0, metavar="SECONDS", help="wait so long for every host's DNS name"
    )
    run.add_argument("--bind", default="", metavar="ADDRESS", help="serve /status on this address only")
    preview = commands.add_parser("preview", help="print what a step trains on, with what is learned in colour")
    preview.add_argument("job", nargs="?", type=Path, help="YAML file of a QLoRAJob; left out: the job of this pod")
    preview.add_argument("--step", type=_positive, default=1, help="optimizer step, from 1")
    preview.add_argument("--rows", type=_positive, default=1000, help="read so many rows of each dataset")
    for command in (fetch, run, preview):
        command.add_argument("--root", type=Path, help="look for /job, /volumes, /work and /dev below this folder")

    ask = commands.add_parser("ask", help="answer questions without and with an adapter")
    ask.add_argument("--model", type=Path, required=True, help="folder of the base model")
    ask.add_argument("--adapter", type=Path, required=True, help="folder of the adapter")
    ask.add_argument("--question", action="append", required=True, help="may be given more than once")
    ask.add_argument("--max-new-tokens", type=int, default=64)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number
