"""Where the time of the demo's job goes, and what it costs the API server: `make demo`, then `make benchmark-job`.

All times are counted from the moment at which the API server received the QLoRAJob, by the API server's audit log and
the kubelets' logs, not by the operator. Prints a table and, with --json, the same as JSON.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any

from qlora_api import names
from support.audit import Request, read_audit_log, tally
from support.dev_cluster import OPERATOR_USER, DevCluster

CLUSTER = DevCluster()
NAMESPACE, NAME = "demo", "smollm2-chat"
AFTERWARDS = 2.0
"""Seconds after the last status in which an Event about it comes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    figures = {**timeline(), **requests(), **sizes()}
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        for what, figure in figures.items():
            print(f"{what:<52} {figure}")


def timeline() -> dict[str, Any]:
    log = of_this_job(read_audit_log(CLUSTER.audit_log))
    applied = next(r.received for r in log if (r.verb, r.resource, r.code) == ("create", names.PLURAL, 201))
    pods = [r for r in log if (r.verb, r.resource, r.code) == ("create", "pods", 201)][:2]
    steps = [time for time, line in trainer_log() if '"event": "step"' in line]
    final = [r for r in log if r.user == OPERATOR_USER and r.resource == f"{names.PLURAL}/status"][-1]
    return {
        "apply to both pods created, s": round(max(r.answered for r in pods) - applied, 3),
        "apply to first optimizer step, s": round(steps[0] - applied, 1),
        "seconds a step after the first": round((steps[-1] - steps[0]) / (len(steps) - 1), 2),
        "apply to Succeeded, s": round(final.answered - applied, 1),
    }


def requests() -> dict[str, Any]:
    log = of_this_job(read_audit_log(CLUSTER.audit_log, OPERATOR_USER))
    writes = [r for r in log if r.is_write]
    patches = [r for r in writes if r.resource.endswith("/status")]
    progress = max(0, len(patches) - 3)
    return {
        "operator's writes besides progress updates": len(writes) - progress,
        "progress updates": progress,
        "operator's reads": len(log) - len(writes),
        "all of them": dict(tally(log)),
    }


def sizes() -> dict[str, Any]:
    summary = [
        json.loads(CLUSTER.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
        for node in ("node-1", "node-2")
    ]
    containers = [
        container
        for node in summary
        for pod in node["pods"]
        if pod["podRef"]["name"].startswith("qlora-operator")
        for container in pod["containers"]
    ]
    images = {
        image["names"][-1].rpartition("/")[2].partition(":")[0].partition("@")[0]: image["sizeBytes"]
        for node in json.loads(CLUSTER.kubectl("get", "nodes", "-o", "json"))["items"]
        for image in node["status"]["images"]
        if any("qlora" in name for name in image["names"])
    }
    return {
        "operator's resident memory, MiB": round(max(c["memory"]["rssBytes"] for c in containers) / 2**20, 1),
        **{f"image {name}, MB": round(size / 1e6) for name, size in sorted(images.items())},
    }


def of_this_job(log: list[Request]) -> list[Request]:
    """What was asked about the newest job of that name, until the last write about it.

    Lists and new Events carry no name in the audit log: those of other jobs are counted too, if any ran beside it.
    """
    since = max(request.received for request in read_audit_log(CLUSTER.audit_log) if is_creation(request))
    of_namespace = [r for r in log if r.namespace == NAMESPACE and r.received >= since]
    last = max(r.received for r in of_namespace if r.name.startswith(NAME) and r.resource.endswith("/status"))
    return [r for r in of_namespace if r.name.startswith(NAME) or (r.name == "" and r.received < last + AFTERWARDS)]


def is_creation(request: Request) -> bool:
    about = (request.verb, request.resource, request.namespace, request.name, request.code)
    return about == ("create", names.PLURAL, NAMESPACE, NAME, 201)


def trainer_log() -> list[tuple[float, str]]:
    """Unix time and text of each line of the first pod."""
    selector = f"{names.LABEL_JOB}={NAME},{names.LABEL_COMPLETION_INDEX}=0"
    pod = CLUSTER.kubectl("-n", NAMESPACE, "get", "pods", "-l", selector, "-o", "name").split()[-1]
    text = CLUSTER.kubectl("-n", NAMESPACE, "logs", "--timestamps", "-c", names.TRAINER_CONTAINER, pod)
    lines = [line.partition(" ") for line in text.splitlines()]
    return [(datetime.fromisoformat(time[:26] + "+00:00").timestamp(), line) for time, _, line in lines]


if __name__ == "__main__":
    main()
