"""Values in, manifests out. After a wanted change: `UPDATE_GOLDEN=1 pytest tests/chart`, and read the difference.

CRD, alerts and dashboard are left out of the recorded manifests: they are files of the chart as they stand.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from qlora_operator.settings import parse_arguments
from support.kubectl import BINARIES, ROOT

HERE = Path(__file__).parent
CHART = ROOT / "helm" / "qlora-operator"
CASES = sorted(path.parent.name for path in HERE.glob("*/values.yaml"))
FILES = ("CustomResourceDefinition", "ConfigMap", "PrometheusRule")

Manifest = dict[str, Any]


def helm(*arguments: str | Path) -> str:
    command = [str(BINARIES / "helm"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rendered(case: str) -> list[Manifest]:
    output = helm("template", "release", CHART, "--namespace", "system", "--values", HERE / case / "values.yaml")
    return [manifest for manifest in yaml.safe_load_all(output) if manifest]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_chart_has_no_faults_that_helm_can_see(case: str) -> None:
    assert "0 chart(s) failed" in helm("lint", CHART, "--strict", "--values", HERE / case / "values.yaml")


@pytest.mark.parametrize("case", CASES)
def test_manifests_are_as_recorded(case: str) -> None:
    kept = [body for body in rendered(case) if body["kind"] not in FILES]
    text = yaml.safe_dump_all(kept, sort_keys=False, width=120)
    golden = HERE / case / "output.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("case", CASES)
def test_the_operator_understands_what_the_chart_tells_it(case: str) -> None:
    container = one(rendered(case), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    settings = parse_arguments(container["args"])
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    values |= yaml.safe_load((HERE / case / "values.yaml").read_text()) or {}
    assert settings.progress_budget == values["progress"]["budget"]
    assert settings.progress_interval == values["progress"]["interval"]
    assert settings.log_format == values["logFormat"]
    assert settings.verbose == values["logVerbose"]
    assert settings.image_pull_secrets == tuple(secret["name"] for secret in values["trainer"]["imagePullSecrets"])
    assert settings.namespaces == tuple(values["watchNamespaces"])


def test_alerts_and_dashboard_are_installed_as_they_stand() -> None:
    manifests = rendered("everything")
    alerts = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    rule, dashboard = one(manifests, "PrometheusRule"), one(manifests, "ConfigMap")
    assert rule["spec"] == alerts
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = dashboard["data"].values()
    assert json.loads(text) == json.loads((CHART / "files/dashboard.json").read_text())


def test_nothing_for_the_prometheus_operator_is_there_unless_asked_for() -> None:
    assert not [body for body in rendered("default") if body["apiVersion"].startswith("monitoring.coreos.com")]


def test_the_monitors_select_what_the_chart_and_the_operator_make() -> None:
    manifests = rendered("everything")
    service, pods = one(manifests, "Service"), one(manifests, "Deployment")["spec"]["template"]
    wanted = one(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
    ports = {port["name"] for port in pods["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    golden = yaml.safe_load_all((ROOT / "tests/golden/two-cpu-nodes/output.yaml").read_text())
    template = one(list(golden), "Job")["spec"]["template"]
    monitor = one(manifests, "PodMonitor")["spec"]
    assert [rule["key"] for rule in monitor["selector"]["matchExpressions"]] == ["qlora.dev/job"]
    assert "qlora.dev/job" in template["metadata"]["labels"]
    trainer_ports = {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= trainer_ports
