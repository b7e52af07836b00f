"""The command line of `qlora`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from qlora_cli.check.refused import Refused

EXIT_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; the exit code is 0 after success only, and 2 for what is refused before anything runs."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "estimate":
            from qlora_cli.estimate import estimate_job

            return estimate_job(options.file, _volumes(options.volume))
        from qlora_cli.run import run

        return run(options.file, _volumes(options.volume), options.work_folder, is_new=options.new)
    except Refused as refused:
        for fault in refused.faults:
            sys.stderr.write(f"qlora: {fault}\n")
        return EXIT_REFUSED


def _volumes(given: Sequence[str]) -> dict[str, Path]:
    """Claim and folder of each `--volume`."""
    folders = {}
    for text in given:
        claim, separator, folder = text.partition("=")
        if not (claim and separator and folder):
            raise Refused([f"--volume {text}: write --volume CLAIM=FOLDER"])
        if not Path(folder).is_dir():
            raise Refused([f"--volume {text}: {folder} is no folder; make it first"])
        folders[claim] = Path(folder).resolve()
    return folders


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qlora", description="Fine-tunes language models from the file of a QLoRAJob."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="train a job on this machine, without a cluster",
        description="Trains a job on this machine: each pod is a process. Ctrl-C stops it after a checkpoint; the same "
        "command goes on from there.",
    )
    estimate = commands.add_parser(
        "estimate",
        help="tell how much memory of a GPU a job needs",
        description="Tells how much memory of a GPU each rank of a job needs. Only the headers of the model's weights "
        "are read; nothing runs.",
    )
    for command in (run, estimate):
        command.add_argument("-f", "--file", type=Path, required=True, help="YAML file of a QLoRAJob")
        command.add_argument(
            "--volume",
            action="append",
            default=[],
            metavar="CLAIM=FOLDER",
            help="the folder that stands for a claim: pvc://CLAIM/x is FOLDER/x; may be given more than once",
        )
    run.add_argument(
        "--work-folder", type=Path, help="where logs and state go; default: .qlora/NAME beside the job's file"
    )
    run.add_argument("--new", action="store_true", help="begin again, as if the job had been deleted")
    return parser
