"""The chart's PrometheusRule is the file of alerts, and each release has a Lease of its own."""

import pytest
import yaml

from support.chart import CHART, REQUIRED, environment, merged, render, render_error

pytestmark = pytest.mark.e2e

FILE = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


def test_no_rule_is_made_by_default() -> None:
    assert render(REQUIRED).of_kind("PrometheusRule") == []


def test_the_rules_are_those_of_the_file() -> None:
    rendering = render(merged(REQUIRED, {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}))
    rule = rendering.get("PrometheusRule", "pipelines")
    assert rule["spec"] == FILE
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert "namespace" not in rule["metadata"], "it stands in the release's"


@pytest.mark.parametrize("base", ["https://runbooks.example.com/pipelines", "https://runbooks.example.com/pipelines/"])
def test_runbooks_are_linked_where_they_are_served(base: str) -> None:
    values = {"prometheusRule": {"enabled": True, "runbookBaseUrl": base}}
    (rule,) = render(merged(REQUIRED, values)).of_kind("PrometheusRule")
    for each in rule["spec"]["groups"][0]["rules"]:
        expected = f"https://runbooks.example.com/pipelines/{each['alert']}.md"
        assert each["annotations"]["runbook_url"] == expected


def test_a_base_that_is_no_address_is_refused() -> None:
    message = render_error(merged(REQUIRED, {"prometheusRule": {"runbookBaseUrl": "docs"}}))
    assert "'/prometheusRule/runbookBaseUrl'" in message


@pytest.mark.parametrize(
    ("release", "lease"), [("pipelines", "pipelines-operator"), ("staging", "staging-pipelines-operator")]
)
def test_each_release_has_a_lease_and_the_right_to_it(release: str, lease: str) -> None:
    rendering = render(REQUIRED, release=release)
    operator = rendering.pods[lease]["spec"]["containers"][0]
    assert environment(operator)["PIPELINES_LEASE"] == lease
    rules = rendering.get("Role", f"{lease}-leader")["rules"]
    assert [rule.get("resourceNames") for rule in rules] == [None, [lease]]


def test_probes_wait_for_a_slow_start_and_forgive_a_moment() -> None:
    pods = render(REQUIRED).pods
    for component in ("operator", "exporter", "bridge"):
        container = pods[f"pipelines-{component}"]["spec"]["containers"][0]
        startup, liveness = container["startupProbe"], container["livenessProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] == 120
        assert liveness["periodSeconds"] * liveness["failureThreshold"] == 30
        assert liveness["timeoutSeconds"] < liveness["periodSeconds"]
        assert startup["httpGet"]["path"] == liveness["httpGet"]["path"] == "/healthz"
