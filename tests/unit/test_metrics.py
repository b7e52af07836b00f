"""Metrics as they are exposed, against docs/metrics.md and against the expressions of alerts and dashboard."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY, Metric
from prometheus_client.metrics import MetricWrapperBase

from qlora_operator import metrics
from qlora_operator.collectors import JobCollector, OperatorCollector
from qlora_operator.controller import Controller
from qlora_operator.counting import begin_at_zero
from qlora_operator.settings import parse_arguments
from qlora_trainer.paths import PodPaths
from qlora_trainer.supervisor.metrics import StatusCollector
from qlora_trainer.supervisor.status import Status
from unit.trainer.pods import Gang

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text()
FILES = ROOT / "helm/qlora-operator/files"
ALERTS = [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
COUNTED = {metric._name: metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)}
UNITS = {"_seconds": "s", "_bytes": "B", "_ratio": "0 to 1"}
TARGET_LABELS = {"namespace", "pod", "job_name"}
"""What Prometheus adds to every series, the last by the PodMonitor."""


@dataclass(frozen=True)
class Exposed:
    """A metric as a scrape shows it."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    begin_at_zero()
    controller = Controller(parse_arguments([]))
    pod = Gang(tmp_path_factory.mktemp("pod")).new_pods()[0]
    trainer = StatusCollector(Status(pod.job, PodPaths(pod.root)))
    collectors: list[Any] = [OperatorCollector(controller), JobCollector(controller), trainer, REGISTRY]
    found = [family for collector in collectors for family in collector.collect()]
    return [family for family in found if family.name.startswith("qlora_")]


def labels_of(family: Metric) -> tuple[str, ...]:
    """Labels of a family, also while it has no sample."""
    source: Any = COUNTED.get(family.name, family)
    return tuple(source._labelnames)


def exposed(family: Metric) -> Exposed:
    suffix = "_total" if family.type == "counter" else ""
    return Exposed(family.name + suffix, family.type, labels_of(family), family.documentation)


def series_names(family: Metric) -> list[str]:
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
    return [family.name + suffix for suffix in suffixes]


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| `qlora_\w+` \| (gauge|counter|histogram) ", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_lists_every_metric_with_its_meaning(families: list[Metric]) -> None:
    told = [Exposed(r[0].strip("`"), r[1], tuple(filter(None, r[2].split(", "))), r[4]) for r in rows()]
    assert sorted(told, key=lambda row: row.name) == sorted(map(exposed, families), key=lambda metric: metric.name)


def test_the_page_gives_units_as_the_names_do() -> None:
    for name, _, _, unit, _ in rows():
        stem = name.strip("`").removesuffix("_total")
        expected = next((unit for suffix, unit in UNITS.items() if stem.endswith(suffix)), None)
        assert unit == expected or (expected is None and unit not in UNITS.values()), name


def test_every_alert_is_on_the_page_with_its_severity() -> None:
    told = re.findall(r"^\| `(QLoRA\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert told == [(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS]
    assert all({"summary", "description"} == set(alert["annotations"]) for alert in ALERTS)


def expressions() -> list[tuple[str, str]]:
    """Where each expression stands, and the expression with Grafana's variables put in."""
    found = [(alert["alert"], alert["expr"]) for alert in ALERTS]
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    found += [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    found += [("docs", block) for block in re.findall(r"^    (\(sum\(.*\n.*)$", PAGE, re.MULTILINE)]
    variables = {"$__rate_interval": "5m", "$__range": "6h", "$namespace": ".*", "$job": ".*"}
    for variable, value in variables.items():
        found = [(place, text.replace(variable, value)) for place, text in found]
    return found


def parts_of(expression: str) -> list[Any]:
    """Every node of the syntax tree.

    Raises:
        ValueError: the expression is no PromQL.
    """
    nodes: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), nodes.append)
    return [getattr(node, "vector_selector", node) for node in nodes]


@pytest.mark.parametrize(("place", "expression"), expressions())
def test_expressions_ask_for_what_is_exposed(families: list[Metric], place: str, expression: str) -> None:
    known = {name: family for family in families for name in series_names(family)}
    nodes = parts_of(expression)
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    assert selectors, place
    available = set(TARGET_LABELS)
    for selector in selectors:
        assert selector.name in known, f"{place}: {selector.name}"
        family = known[selector.name]
        labels = {*labels_of(family), *TARGET_LABELS, *(["le"] if family.type == "histogram" else [])}
        available |= labels
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{place}: {selector.name}{{{matcher.name}}}"
            if matcher.op == promql_parser.MatchOp.Equal:
                values = {sample.labels.get(matcher.name) for sample in family.samples}
                assert matcher.value in values, f"{place}: {matcher.name}={matcher.value}"
    for node in nodes:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= available, place


def test_panels_do_not_overlap_and_have_a_number_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
