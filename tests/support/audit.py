"""Reads what the API server's audit log says about a user's requests."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One finished request. Times are Unix times in seconds."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    received: float
    answered: float
    forbidden: bool
    """Refused for want of a role, and not by a quota or the like."""
    dry_run: bool

    @property
    def is_write(self) -> bool:
        return self.verb in WRITE_VERBS and not self.dry_run


def read_audit_log(path: Path, user: str | None = None, begin: int = 0) -> list[Request]:
    """Finished requests in the order of the log, watches left out; of one user, if given.

    Args:
        path: the log.
        user: whose requests.
        begin: byte of the log from which to read; the beginning of a line.
    """
    requests = []
    with path.open("rb") as log:
        log.seek(begin)
        lines = log.read().splitlines()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["stage"] != "ResponseComplete" or event["verb"] == "watch":
            continue
        if user is not None and event["user"]["username"] != user:
            continue
        about = event.get("objectRef") or {}
        resource = about.get("resource", event["requestURI"])
        subresource = about.get("subresource")
        requests.append(
            Request(
                user=event["user"]["username"],
                verb=event["verb"],
                resource=f"{resource}/{subresource}" if subresource else resource,
                namespace=about.get("namespace", ""),
                name=about.get("name", ""),
                code=event.get("responseStatus", {}).get("code", 0),
                received=_unix_time(event["requestReceivedTimestamp"]),
                answered=_unix_time(event["stageTimestamp"]),
                forbidden=event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid",
                dry_run="dryRun=All" in event["requestURI"],
            )
        )
    return requests


def tally(requests: list[Request]) -> Counter[str]:
    """Requests by verb and resource; a refused one carries its code."""
    return Counter(f"{r.verb} {r.resource}" + (f" ({r.code})" if r.code >= 400 else "") for r in requests)


def _unix_time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
