"""What has to be the same after every disturbance."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from faults.history import Body
from faults.play import Play
from support.kubectl import NotFoundError


@dataclass(frozen=True)
class EndState:
    """A job and what it has made."""

    status: Body | None
    """Without what differs from run to run: times, names of pods and nodes. None if the job is gone."""
    children: tuple[str, ...]

    def __str__(self) -> str:
        return json.dumps({"status": self.status, "children": self.children}, indent=1, sort_keys=True)


def end_state(play: Play) -> EndState:
    try:
        status = play.status(play.job)
    except NotFoundError:
        status = None
    plain = json.dumps({"status": _without_times(status), "children": play.children()})
    plain = re.sub(rf"\b{play.job}(-\d+-\d+)-[a-z0-9]{{5}}\b", r"job\1", plain)
    plain = re.sub(rf"\b{play.job}\b", "job", plain)
    plain = re.sub(rf"\b{play.namespace}-node-\d+\b", "node", plain)
    content = json.loads(plain)
    return EndState(content["status"], tuple(content["children"]))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if not key.endswith(("Time", "Seconds"))}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value
