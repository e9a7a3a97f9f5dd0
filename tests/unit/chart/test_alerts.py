"""The alert rules: valid PromQL on metrics that exist, each with its words and its runbook page."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry

from pipeline_bridge import metrics as bridge_metrics
from pipeline_core import process_metrics
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.schedules.observed import MissedReason
from pipeline_operator import main
from pipeline_operator.expectations import WATCHED
from pipeline_operator.exporter.metrics import CAUSES, ExporterMetrics

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
Rule = dict[str, Any]


def rules() -> list[Rule]:
    groups = yaml.safe_load((ROOT / "charts" / "pipelines" / "files" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


RULES = {rule["alert"]: rule for rule in rules()}
each = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def label_names() -> dict[str, set[str]]:
    """Each metric's own labels, by the names that it is served under."""
    assert main
    assert bridge_metrics
    registry = CollectorRegistry()
    ExporterMetrics(registry)
    process_metrics.register("exporter", registry)
    names: dict[str, set[str]] = {"process_resident_memory_bytes": set()}
    for known in (REGISTRY, registry):
        for name, collector in known._names_to_collectors.items():
            names[name] = set(getattr(collector, "_labelnames", ("phase",)))
    return names


def selectors(node: Any) -> list[promql_parser.VectorSelector]:
    """Every selector of metrics within an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        return [node]
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector", "param", "vs")]
    below += getattr(node, "args", None) or []
    return [found for child in below if child is not None for found in selectors(child)]


def test_there_are_few() -> None:
    assert len(rules()) == len(RULES) <= 16


@each
def test_the_expression_uses_metrics_and_labels_that_exist(rule: Rule) -> None:
    known = label_names()
    found = selectors(promql_parser.parse(rule["expr"]))
    assert found
    assert {selector.name for selector in found} == set(re.findall(r"(?:pipelines|process)_\w+", rule["expr"]))
    for selector in found:
        assert selector.name in known, selector.name
        assert {matcher.name for matcher in selector.matchers.matchers} <= known[selector.name]


@each
def test_what_it_says(rule: Rule) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Pipelines[A-Z][A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"[0-9]+m", rule.get("for", "0m"))
    assert rule["labels"]["severity"] in {"critical", "warning"}
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")
    used = set(re.findall(r"\$labels\.(\w+)", annotations["description"]))
    assert used <= set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"])))) | {"instance"}


@each
def test_its_runbook(rule: Rule) -> None:
    path = ROOT / rule["annotations"]["runbook_url"]
    assert path == RUNBOOKS / f"{rule['alert']}.md"
    text = path.read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Meaning", "Effect", "Look", "Do", "Ends"]


def test_every_page_is_of_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.iterdir()} == RULES.keys()


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "operations").rglob("*.md")), ids=lambda page: page.stem)
def test_queries_in_the_pages_can_be_read(page: Path) -> None:
    known = label_names() | {"up": set()}
    for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL):
        for query in re.split(r"\n(?! )", re.sub(r"^#.*\n", "", block, flags=re.MULTILINE).strip()):
            for selector in selectors(promql_parser.parse(query)):
                base = re.sub(r"_(bucket|sum|count)$", "", selector.name or "")
                assert selector.name in known or base in known, selector.name


STEP = 30  # seconds between scrapes, which are the evaluations too
Samples = dict[tuple[str, str], list[float]]


def value_at(node: Any, samples: Samples, at: int) -> float | None:
    """The expression's value at a scrape, of one installation; None where it has none. As much as one rule needs."""
    match node:
        case promql_parser.NumberLiteral():
            return float(node.val)
        case promql_parser.AggregateExpr():
            return value_at(node.expr, samples, at)
        case promql_parser.Call():
            (over,) = node.args
            selector = over.vector_selector
            first = at - int(over.range.total_seconds()) // STEP
            label = next((matcher.value for matcher in selector.matchers.matchers), "")
            window = samples[selector.name, label][max(0, first) : at + 1]
            if node.func.name == "changes":
                return float(sum(a != b for a, b in pairwise(window)))
            assert node.func.name == "increase"
            return window[-1] - window[0]
        case promql_parser.BinaryExpr():
            left, right = value_at(node.lhs, samples, at), value_at(node.rhs, samples, at)
            match str(node.op):
                case ">":
                    return left if left is not None and right is not None and left > right else None
                case "unless":
                    return left if right is None else None
                case "or":
                    return right if left is None else left
    raise AssertionError(f"not known: {node}")


def counted(*events: int) -> list[float]:
    """A counter over twenty minutes that grows at these scrapes."""
    return [float(sum(event <= at for event in events)) for at in range(41)]


EVERY, NEVER = tuple(range(1, 41)), ()


@pytest.mark.parametrize(
    ("unavailable", "ok", "postgresql", "export_succeeds", "fires"),
    [
        (NEVER, EVERY, NEVER, EVERY, False),
        ((10,), EVERY, NEVER, EVERY, False),  # one call of many
        ((10,), NEVER, NEVER, EVERY, False),  # one call, and no other for long: an idle operator
        (EVERY, EVERY, NEVER, EVERY, False),  # one call of several fails each time
        (EVERY, NEVER, NEVER, EVERY, True),
        (EVERY[9:], EVERY[:9], NEVER, EVERY, True),
        (EVERY[9:14], EVERY[:9] + EVERY[14:], NEVER, EVERY, False),  # away for two and a half minutes
        (NEVER, NEVER, (10,), EVERY, False),
        (NEVER, NEVER, EVERY[9::3], EVERY[:9], True),  # the exporter tries ever less often, up to a minute apart
        (NEVER, NEVER, NEVER, NEVER, False),  # BigQuery is away
    ],
)
def test_postgresql_is_called_away_when_no_call_succeeds_for_long_and_not_for_one_that_fails(
    unavailable: tuple[int, ...],
    ok: tuple[int, ...],
    postgresql: tuple[int, ...],
    export_succeeds: tuple[int, ...],
    fires: bool,
) -> None:
    rule = RULES["PipelinesPostgresAway"]
    samples = {
        ("pipelines_store_calls_total", "unavailable"): counted(*unavailable),
        ("pipelines_store_calls_total", "ok"): counted(*ok),
        ("pipelines_export_failures_total", "postgresql"): counted(*postgresql),
        ("pipelines_export_last_success_timestamp_seconds", ""): counted(*export_succeeds),
    }
    expression = promql_parser.parse(rule["expr"])
    holds = [value_at(expression, samples, at) is not None for at in range(41)]
    needed = int(rule["for"].removesuffix("m")) * 60 // STEP + 1
    assert any(all(holds[at : at + needed]) for at in range(len(holds) - needed)) is fires


def test_values_of_labels_that_the_rules_name_are_ones_that_occur() -> None:
    """A reason that is renamed would silence an alert."""
    text = "\n".join(rule["expr"] for rule in rules())
    named = {word for group in re.findall(r'reason!~"([^"]+)"', text) for word in group.split("|")}
    assert named <= {reason.value for reason in (*Reason, *MissedReason)}
    assert set(re.findall(r'code=~"([^"]+)"', text)) == {"401|403|unavailable"}
    assert set(re.findall(r'outcome="(\w+)"', text)) == {"unavailable", "ok"}
    assert set(re.findall(r'cause="(\w+)"', text)) <= set(CAUSES)
    assert len(WATCHED) == 4
