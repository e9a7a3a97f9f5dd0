"""docs/operations/metrics.md names every metric of all processes, as they are served, and no other."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

from pipeline_bridge import metrics as bridge_metrics
from pipeline_core import process_metrics
from pipeline_operator import main
from pipeline_operator.exporter.metrics import ExporterMetrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\| (?P<unit>[^|]+) \| (?P<text>[^|]+) \|$")

Described = dict[str, tuple[str, tuple[str, ...]]]


def section(title: str) -> Described:
    """Name to type and labels, as the page has them under this heading."""
    text = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    matches = [ROW.match(row) for row in rows]
    assert all(matches), rows
    return {m["name"]: (m["kind"], tuple(re.findall(r"`(\w+)`", m["labels"]))) for m in matches if m}


def served(registry: CollectorRegistry) -> Described:
    """The same of a registry, the names as they are in /metrics."""
    found: Described = {}
    for collector in set(registry._collector_to_names):
        found |= {name: what for name, what in describe(collector).items() if name.startswith("pipelines_")}
    return found


def describe(collector: Collector) -> Described:
    if isinstance(collector, Counter | Gauge | Histogram):
        kind = type(collector).__name__.lower()
        name = collector._name + ("_total" if kind == "counter" else "")
        return {name: (kind, tuple(collector._labelnames))}
    families = list(collector.collect())
    return {
        family.name: (family.type, tuple({key for sample in family.samples for key in sample.labels}))
        for family in families
    }


def test_of_the_operator() -> None:
    assert main  # what it imports is what it serves
    registered = served(REGISTRY)
    # Other tests may have imported the bridge, whose registry is the process's own, too.
    for name in section("Every process") | section("Bridge"):
        registered.pop(name, None)
    assert registered == section("Operator")


def test_of_the_bridge() -> None:
    own = {name: what for name, what in served(REGISTRY).items() if name.startswith("pipelines_bridge_")}
    assert bridge_metrics
    assert own == section("Bridge")


def test_of_the_exporter() -> None:
    registry = CollectorRegistry()
    ExporterMetrics(registry)
    assert served(registry) == section("Exporter")


def test_of_every_process() -> None:
    registry = CollectorRegistry()
    process_metrics.register("operator", registry)
    assert served(registry) == section("Every process")


@pytest.mark.parametrize("title", ["Operator", "Exporter", "Bridge", "Every process"])
def test_labels_are_bounded(title: str) -> None:
    bounded = {"phase", "reason", "outcome", "verb", "resource", "code", "call", "kind", "result", "cause"}
    bounded |= {"method", "route", "status", "state", "step"}
    for labels in (labels for _, labels in section(title).values()):
        assert set(labels) <= bounded | {"component", "version"}
