"""What it costs to hold jobs that run and of which nothing is new."""

from __future__ import annotations

import time

from benchmarks.operator.crowd import first_pods_stand_still
from benchmarks.operator.stage import Stage
from benchmarks.operator.table import Row
from benchmarks.operator.tail import is_resync
from benchmarks.operator.usage import processor_seconds, resident_mebibytes

SILENCE = 15.0
"""Longer than any job waits for its turn to be asked again."""


def measure(stage: Stage, jobs: int, seconds: float) -> list[Row]:
    """Every job's first pod answers and is asked in turn; its first answer, which is news, lies before."""
    with first_pods_stand_still(stage) as pods:
        stage.tail().wait_for_silence(stage.ours.user, SILENCE, timeout=30 + jobs)
        tail = stage.tail()
        used, asked = processor_seconds(stage.ours.pid), sum(pod.asked for pod in pods)
        time.sleep(seconds)
        used = processor_seconds(stage.ours.pid) - used
        asked = sum(pod.asked for pod in pods) - asked
        requests, null = (tail.requests(contender.user) for contender in (stage.ours, stage.null))
        resyncs = sum(is_resync(request) for request in requests)
        calls = len(requests) - resyncs
        assert all(pod.asked for pod in pods), "not every pod was ever asked"
    during = f"{jobs} jobs running, {seconds:.0f} s"
    return [
        Row(f"{during}: requests to the API server", "0", str(calls), str(len(null)), holds=calls == 0),
        Row(f"{during}: lists of a resync, every 300 s", "", str(resyncs)),
        Row(f"{during}: questions to pods", "", str(asked)),
        Row(f"{during}: processor time, s a minute", "", f"{used * 60 / seconds:.2f}"),
        Row(f"{during}: memory, MiB", "", f"{resident_mebibytes(stage.ours.pid):.0f}"),
    ]
