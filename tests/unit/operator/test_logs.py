"""Lines of the operator's log."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import kopf
import pytest
from kopf._core.actions.loggers import LocalObjectLogger

from qlora_operator.logs import JsonFormatter, TextFormatter, about

KEY = ("team-a", "support-bot")


class Lines(logging.Handler):
    """Keeps what a formatter makes of each record."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def lines_of(formatter: logging.Formatter, write: Any) -> list[str]:
    handler = Lines(formatter)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        write()
    finally:
        root.removeHandler(handler)
    return handler.lines


def line_of(write: Any) -> dict[str, Any]:
    (line,) = lines_of(JsonFormatter(), write)
    assert "\n" not in line
    result: dict[str, Any] = json.loads(line)
    return result


def test_a_line_inside_the_work_on_a_job_carries_its_name() -> None:
    def write() -> None:
        with about(KEY):
            logging.getLogger("some.library").warning("slow %s", "answer", extra={"phase": "Running"})

    line = line_of(write)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "severity": "warning",
        "logger": "some.library",
        "message": "slow answer",
        "namespace": "team-a",
        "job": "support-bot",
        "phase": "Running",
    }


def test_a_line_about_no_job_names_none() -> None:
    assert not {"namespace", "job"} & set(line_of(lambda: logging.getLogger("x").error("the Lease is lost")))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("QLoRAJob", "support-bot"),
        ("Service", "support-bot"),
        ("ConfigMap", "support-bot-12"),
        ("Job", "support-bot-12"),
        ("Pod", "support-bot-12-0-x7k2p"),
    ],
)
def test_kopfs_own_lines_carry_the_job_of_the_object(kind: str, name: str) -> None:
    body = kopf.Body({"kind": kind, "metadata": {"name": name, "namespace": "team-a", "uid": "u"}})
    logger = LocalObjectLogger(body=body, settings=kopf.OperatorSettings())
    line = line_of(lambda: logger.error("Handler failed"))
    assert (line["namespace"], line["job"], line["message"]) == ("team-a", "support-bot", "Handler failed")
    assert "settings" not in line


def test_a_traceback_stays_within_its_line() -> None:
    def write() -> None:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("x").exception("it failed")

    assert "ValueError: two" in line_of(write)["exception"]


def test_text_is_for_people() -> None:
    def write() -> None:
        with about(KEY):
            logging.getLogger("x").info("phase %s", "Running")

    logging.getLogger("x").setLevel(logging.INFO)
    (line,) = lines_of(TextFormatter(), write)
    assert line.endswith("INFO    x: [team-a/support-bot] phase Running")


def test_a_crash_of_the_operator_is_a_line_too() -> None:
    program = "from qlora_operator import logs; logs.configure('json', verbose=False); raise KeyError('gone')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["severity"], done.returncode) == ("critical", 1)
    assert "KeyError: 'gone'" in line["exception"]
