"""The two CRDs keep what is promised: described, bounded, in step with the code, spec guarded field by field."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_core import identifiers
from pipeline_core.lifecycle.observed import DEFAULT_TTL
from pipeline_core.lifecycle.phases import Phase

CRDS = Path(__file__).parents[3] / "crds"
FILES = sorted(path.name for path in CRDS.glob("*.yaml"))

Schema = dict[str, Any]


def load(name: str) -> Schema:
    crd: Schema = yaml.safe_load((CRDS / name).read_text())
    return crd


def version(name: str) -> Schema:
    (only,) = load(name)["spec"]["versions"]
    return dict(only)


def root(name: str) -> Schema:
    return dict(version(name)["schema"]["openAPIV3Schema"])


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema below `schema` with its path, those of list items and map values included."""
    for key, below in schema.get("properties", {}).items():
        yield f"{path}.{key}", below
        yield from fields(below, f"{path}.{key}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(below := schema.get(keyword), dict):
            yield path + mark, below
            yield from fields(below, path + mark)


def of_run(part: str) -> Schema:
    return dict(root("pipelineruns.yaml")["properties"][part]["properties"])


ALL_FIELDS = [(name, path, schema) for name in FILES for path, schema in fields(root(name))]


def test_there_are_the_two() -> None:
    names = {load(name)["metadata"]["name"] for name in FILES}
    assert names == {"pipelineruns.pipelines.dev", "pipelineschedules.pipelines.dev"}


@pytest.mark.parametrize(
    ("name", "path", "schema"), ALL_FIELDS, ids=[f"{name.removesuffix('.yaml')}{path}" for name, path, _ in ALL_FIELDS]
)
def test_field_is_described_and_bounded(name: str, path: str, schema: Schema) -> None:
    if path == ".metadata":  # Kubernetes describes it, and refuses a description here
        return
    assert schema.get("description", "").endswith("."), "a sentence that describes it"
    if schema.get("x-kubernetes-int-or-string"):
        assert "type" not in schema, "a structural schema gives no type beside int-or-string"
        assert "maxLength" in schema
        return
    match schema["type"]:
        case "string" if path not in (".apiVersion", ".kind"):
            assert schema.keys() & {"maxLength", "enum", "format"}, "a bound on the length"
        case "array":
            assert "maxItems" in schema
            assert "x-kubernetes-list-type" in schema
        case "integer":
            assert "minimum" in schema
            assert schema["format"] in ("int32", "int64")
        case "object" if "additionalProperties" in schema:
            assert "maxProperties" in schema
        case "object":
            assert "properties" in schema or path in ("", ".metadata"), "no object without declared fields"
    assert "x-kubernetes-preserve-unknown-fields" not in schema


@pytest.mark.parametrize("name", FILES)
def test_status_is_a_subresource_and_spec_is_required(name: str) -> None:
    assert version(name)["subresources"] == {"status": {}}
    assert root(name)["required"] == ["spec"]
    assert load(name)["spec"]["names"]["categories"] == ["pipelines"]


def test_short_names() -> None:
    assert [load(name)["spec"]["names"]["shortNames"] for name in FILES] == [["plr"], ["pls"]]


@pytest.mark.parametrize("name", FILES)
def test_columns_show_declared_fields(name: str) -> None:
    declared = {path for path, _ in fields(root(name))} | {".metadata.creationTimestamp"}
    shown = [column["jsonPath"] for column in version(name)["additionalPrinterColumns"]]
    assert set(shown) <= declared
    assert len(shown) == len(set(shown))
    assert {field["jsonPath"] for field in version(name)["selectableFields"]} <= declared


def test_every_rule_names_its_field_and_says_what_is_expected() -> None:
    for name, path, schema in ALL_FIELDS:
        for rule in schema.get("x-kubernetes-validations", []):
            if "messageExpression" in rule:
                continue  # names the field that differs; below
            field = path.removeprefix(".") + rule.get("fieldPath", "")
            assert rule["message"].startswith(f"{field}: "), f"{name}: {rule['message']}"
            assert re.search("must be|expected|only allowed", rule["message"]), f"{name}: {rule['message']}"


def test_every_field_of_a_run_but_cancel_is_guarded_against_change() -> None:
    spec = root("pipelineruns.yaml")["properties"]["spec"]
    guard = spec["x-kubernetes-validations"][0]
    same, differs = [], []
    for name in spec["properties"]:
        if name == "cancel":
            continue
        if name in spec["required"]:
            same.append(f"self.{name} == oldSelf.{name}")
            differs.append(f"self.{name} != oldSelf.{name} ? 'spec.{name}'")
        else:
            added = f"has(self.{name}) != has(oldSelf.{name})"
            same.append(
                f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"
            )
            differs.append(f"{added} || has(self.{name}) && self.{name} != oldSelf.{name} ? 'spec.{name}'")
    assert " ".join(guard["rule"].split()) == "self == oldSelf || " + " && ".join(same)
    last = differs.pop().rpartition("? ")[2]
    says = "immutable, expected the value that the run was created with"
    assert " ".join(guard["messageExpression"].split()) == f"({' : '.join([*differs, last])}) + ': {says}'"


def test_identifiers_are_those_of_the_code() -> None:
    spec = of_run("spec")
    assert spec["org"]["pattern"] == f"^{identifiers.ORG_SLUG.pattern}$"
    for name in ("provider", "domain", "pipeline"):
        assert spec[name]["pattern"] == f"^{identifiers.NAME.pattern}$"
    assert identifiers.NAME.pattern in spec["parameters"]["x-kubernetes-validations"][0]["rule"]
    for part in (spec, of_run("status")):
        assert part["runId"]["pattern"] == f"^{identifiers.RUN_ID.pattern}$"


def test_phases_are_those_of_the_code() -> None:
    assert of_run("status")["phase"]["enum"] == [phase.value for phase in Phase]
    outcomes = root("pipelineschedules.yaml")["properties"]["status"]["properties"]["lastOutcome"]["enum"]
    assert outcomes == [phase.value for phase in Phase if phase.is_final]


def test_the_time_that_a_finished_run_stays_is_that_of_the_code() -> None:
    assert of_run("spec")["ttlSecondsAfterFinished"]["default"] == DEFAULT_TTL.total_seconds()


def test_a_schedule_says_of_its_runs_what_a_run_says() -> None:
    schedule = root("pipelineschedules.yaml")["properties"]["spec"]["properties"]
    run = of_run("spec")

    def without_default(schema: Schema) -> Schema:
        return {keyword: value for keyword, value in schema.items() if keyword != "default"}

    for name in ("org", "provider", "domain", "pipeline", "parameters"):
        assert schedule[name] == run[name]
    for name, schema in schedule["runTemplate"]["properties"].items():
        assert without_default(schema) == without_default(run[name])
