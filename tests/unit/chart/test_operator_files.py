"""The files that the operator reads: the catalog, and the runner's template, which every version understands."""

from typing import Any

import pytest

from pipeline_operator.settings import RunnerTemplate
from support.chart import REQUIRED, ROOT, Rendering, containers, environment, merged, render

pytestmark = pytest.mark.e2e


def projected_catalog(rendering: Rendering) -> dict[str, str]:
    """The catalog as the operator's container sees it: path to text."""
    data = rendering.get("ConfigMap", "pipelines-catalog")["data"]
    (volume,) = (v for v in rendering.pods["pipelines-operator"]["spec"]["volumes"] if v["name"] == "catalog")
    items = volume["configMap"]["items"]
    assert {item["key"] for item in items} == data.keys()
    assert len(items) == len(data)
    return {item["path"]: data[item["key"]] for item in items}


def test_the_catalog_arrives_as_it_stands_in_the_repository(required: Rendering) -> None:
    configs = ROOT / "configs"
    expected = {str(path.relative_to(configs)): path.read_text() for path in configs.rglob("*.yml")}
    assert projected_catalog(required) == expected


def test_values_add_replace_and_remove_files_of_the_catalog(required: Rendering) -> None:
    text = 'pipeline:\n  name: "{{ .Values.env }}"\n\n# a comment\n'
    files = {"demo/test/noop.yml": text, "gcp/cost/billing.yml": "", "anthropic/usage_cost.yml": "b\n"}
    expected = projected_catalog(required) | files
    del expected["gcp/cost/billing.yml"]
    assert projected_catalog(render(merged(REQUIRED, {"catalog": {"files": files}}))) == expected


def test_the_operator_understands_the_runner_template(rendering: Rendering) -> None:
    template = rendering.runner_template()
    assert RunnerTemplate.model_validate(template).model_dump() == template


# What the operator of the first version that came to clusters understands: it refuses a template with anything else.
UNDERSTOOD_BY_ALL = {
    *("image", "imagePullPolicy", "serviceAccountName", "hostNetwork", "resources", "nodeSelector", "tolerations"),
    *("imagePullSecrets", "env", "volumes", "volumeMounts", "labels", "annotations"),
}


def test_operators_of_the_version_before_understand_the_runner_template(rendering: Rendering) -> None:
    # They go on until the new ones are ready, and the kubelet brings them the new file.
    assert rendering.runner_template().keys() <= UNDERSTOOD_BY_ALL


def test_the_least_runner_template(required: Rendering) -> None:
    template = required.runner_template()
    assert template.keys() == RunnerTemplate.model_fields.keys()
    assert template["image"] == "localhost/pipelines-runner:0.1.0"
    for name in ("imagePullSecrets", "tolerations", "volumes", "volumeMounts"):
        assert template[name] == []
    for name in ("nodeSelector", "labels", "annotations"):
        assert template[name] == {}


def test_runs_are_placed_as_the_values_say() -> None:
    runner = {
        "nodeSelector": {"pool": "etl"},
        "tolerations": [{"key": "etl", "operator": "Exists"}],
        "labels": {"team": "data"},
        "annotations": {"note": "yes"},
        "env": [{"name": "PIPELINES_X", "value": "1"}],
        "logLevel": "DEBUG",
    }
    values = merged(REQUIRED, {"runner": runner, "image": {"pullSecrets": [{"name": "registry"}]}})
    template = render(values).runner_template()
    for name in ("nodeSelector", "tolerations", "labels", "annotations"):
        assert template[name] == runner[name]
    assert template["imagePullSecrets"] == [{"name": "registry"}]
    assert environment(template)["PIPELINES_LOG_LEVEL"] == "DEBUG"
    assert environment(template)["PIPELINES_X"] == "1"


def test_a_changed_runner_template_restarts_the_operator_and_a_changed_catalog_does_not(required: Rendering) -> None:
    def annotations(values: dict[str, Any]) -> dict[str, str]:
        metadata = render(merged(values, {"progress": {"existingSecret": "k"}})).pods["pipelines-operator"]["metadata"]
        return dict(metadata["annotations"])

    path = "gcp/cost/billing.yml"
    before = annotations(dict(REQUIRED))
    assert annotations(merged(REQUIRED, {"runner": {"logLevel": "DEBUG"}})) != before
    assert annotations(merged(REQUIRED, {"catalog": {"files": {path: "changed"}}})) == before


def test_the_packages_of_processors_reach_all_who_judge_them(required: Rendering) -> None:
    rendering = render(merged(REQUIRED, {"processors": {"packages": ["acme-invoices", "other"]}}))
    for found, expected in ((rendering, "acme-invoices,other"), (required, "")):
        pods = [containers(found.pods[f"pipelines-{name}"])[-1] for name in ("operator", "bridge")]
        for variables in (*map(environment, pods), environment(found.runner_template())):
            assert variables["PIPELINES_PROCESSOR_PACKAGES"] == expected
