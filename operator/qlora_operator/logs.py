"""The operator's log: one JSON object or one line of text a record, with the job that it is about.

The records of Kopf and of other libraries pass through the same formatter.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from qlora_api import names
from qlora_operator.views import Key

LogFormat = Literal["json", "text"]

_job: ContextVar[Key | None] = ContextVar("job", default=None)
_NOT_EXTRA = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "k8s_ref", "k8s_skip", "settings"}
"""What every record has, and what Kopf adds to its own."""


@contextmanager
def about(key: Key | None) -> Iterator[None]:
    """Whatever is logged inside, by any library, is about that job."""
    token = _job.set(key)
    try:
        yield
    finally:
        _job.reset(token)


def configure(log_format: LogFormat, verbose: bool) -> None:
    """Sends all records to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # a line for every event that was seen
    logging.captureWarnings(True)
    sys.excepthook = _log_crash


class JsonFormatter(logging.Formatter):
    """One JSON object: `timestamp`, `severity`, `logger`, `message`; `namespace` and `job` if it is about one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record without line breaks; a traceback is a field."""
        line: dict[str, Any] = {
            "timestamp": _time(record),
            "severity": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        key = _job_of(record)
        if key is not None:
            line |= {"namespace": key[0], "job": key[1]}
        line |= {name: value for name, value in vars(record).items() if name not in _NOT_EXTRA}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Time, severity, logger, `[namespace/job]` if it is about one, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, with its traceback below."""
        key = _job_of(record)
        prefix = "" if key is None else f"[{key[0]}/{key[1]}] "
        line = f"{_time(record)} {record.levelname:7} {record.name}: {prefix}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _job_of(record: logging.LogRecord) -> Key | None:
    """The job that Kopf speaks of, or whose work has led to the record."""
    seen = getattr(record, "k8s_ref", None)
    if seen is None:
        return _job.get()
    name = names.job_of(seen["kind"] or "", seen["name"] or "")
    return None if name is None else (seen["namespace"] or "", name)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _log_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("the operator ends: %s", error, exc_info=(kind, error, traceback))
