"""`make benchmark-operator`: the operator beside a null operator on a control plane of its own.

Both take turns, repetition by repetition. Times and requests come from the API server's audit log, processor time and
memory from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from benchmarks.operator import burst, idle, life, one_job, restart
from benchmarks.operator.stage import Stage, open_stage
from benchmarks.operator.table import Row, render

PARTS = ("one-job", "life", "burst", "idle", "restart", "big-restart")


def main() -> None:
    options = parse_arguments()
    print(f"load before: {_load()}", flush=True)
    rows: list[Row] = []
    with open_stage() as stage:
        for part in options.parts:
            rows += measure(part, stage, options)
            print(render(rows), flush=True)
    print(f"load after: {_load()}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def measure(part: str, stage: Stage, options: argparse.Namespace) -> list[Row]:
    """One part of the benchmark; idle and restart need the jobs of a burst and make them if there are none."""
    match part:
        case "one-job":
            return one_job.measure(stage, options.sizes, options.repetitions)
        case "life":
            return life.measure(stage, options.sizes)
        case "burst":
            return burst.measure(stage, options.jobs, options.bursts)
        case "idle":
            have_jobs(stage, options.jobs)
            return idle.measure(stage, options.jobs, options.seconds)
        case "restart":
            have_jobs(stage, options.jobs)
            return restart.measure(stage, options.jobs)
        case _:
            have_jobs(stage, options.many_jobs)
            return restart.measure(stage, options.many_jobs)


def have_jobs(stage: Stage, number: int) -> None:
    """Makes sure that so many jobs run, and no others."""
    if len(stage.items(stage.ours.kind.path(stage.ours.namespace))) != number:
        stage.clear(stage.ours)
        burst.run(stage, stage.ours, number)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark-operator", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; all without any")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 8, 64], help="pods of one job")
    parser.add_argument("--repetitions", type=int, default=5, help="of one job of each size")
    parser.add_argument("--jobs", type=int, default=200, help="jobs at once")
    parser.add_argument("--bursts", type=int, default=3, help="repetitions of jobs at once")
    parser.add_argument("--many-jobs", type=int, default=1000, help="jobs of the big restart")
    parser.add_argument("--seconds", type=float, default=60, help="of watching an idle operator")
    parser.add_argument("--json", type=Path, help="file for the same table as JSON")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    return options


def _load() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


if __name__ == "__main__":
    main()
