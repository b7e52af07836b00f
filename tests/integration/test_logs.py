"""The log of a real operator at its most talkative: what it says of a job can be found by the job's name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from builders import job_body
from support.jobs import JobDriver
from support.operator_process import Operator


@pytest.fixture
def talkative(operator: Operator) -> Iterator[Operator]:
    operator.stop()
    operator.start("--log-format=json", "--verbose")
    yield operator
    operator.stop()
    operator.start()


def test_each_line_about_a_job_names_it_kopfs_lines_included(talkative: Operator, driver: JobDriver) -> None:
    assert talkative.process is not None
    begin = talkative.process.log.stat().st_size
    driver.apply(job_body("support-bot"))
    driver.wait_for_phase("support-bot", "Running")
    for pod in driver.wait_for_pods("support-bot", 2):
        driver.end_pod(pod, message={"outcome": "Succeeded", "step": 3, "of": 3})
    driver.wait_for_phase("support-bot", "Succeeded")
    driver.kubectl("delete", "qlorajob", "support-bot")
    talkative.stop()
    text = talkative.process.log.read_bytes()[begin:].decode()
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    about_us = [line for line in lines if line.get("namespace") == driver.namespace]
    assert {line["job"] for line in about_us} == {"support-bot"}
    assert {line["logger"] for line in about_us} >= {"kopf.objects", "qlora_operator.reconcile"}
    phases = [phase for phase, _ in groupby(line["phase"] for line in about_us if "phase" in line)]
    assert phases == ["Starting", "Running", "Succeeded"], "each may be told again with another reason"
    strays = [line for line in lines if "support-bot" in line["message"] and "job" not in line]
    assert strays == []
    assert [line for line in lines if line["logger"] == "kopf.objects" and "job" not in line] == []
