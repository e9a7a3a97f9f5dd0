"""What a request may say of a schedule, field by field, and the words in which anything else is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.exceptions import RequestValidationError

from pipeline_bridge import schedule_fields as fields
from pipeline_bridge.models.backfills import BackfillRequest
from pipeline_bridge.models.requests import parse
from pipeline_bridge.models.schedules import ScheduleChange, ScheduleCreate, TriggerRequest
from pipeline_bridge.problems import Problem
from pipeline_bridge.refused_fields import problem_of_validation
from pipeline_bridge.run_objects import MAX_PARAMETER_CHARACTERS, MAX_PARAMETERS
from pipeline_bridge.schedule_objects import generated_name
from pipeline_core.schedules import cron
from pipeline_core.schedules.ids import BACKFILL_ID

CRD = Path(__file__).parents[3] / "crds" / "pipelineschedules.yaml"

NULLABLE = ["starting_deadline_seconds", "timeout_seconds", "max_retries", "priority", "queue_timeout_seconds"]
# The numbers, and their names in the custom resource.
LIMITED = {
    "starting_deadline_seconds": "startingDeadlineSeconds",
    "catch_up_limit": "catchUpLimit",
    "stagger_seconds": "staggerSeconds",
    "successful_runs_history_limit": "successfulRunsHistoryLimit",
    "failed_runs_history_limit": "failedRunsHistoryLimit",
    "timeout_seconds": "timeoutSeconds",
    "max_retries": "maxRetries",
    "priority": "priority",
    "queue_timeout_seconds": "queueTimeoutSeconds",
}

NAMES_ACCEPTED = ["a", "nightly", "nightly-2", "0", "a.b-c", "a" * 52]
NAMES_REFUSED = ["", "Nightly", "a_b", "-a", "a-", "a..b", "a.-b", "a b", "ä", "a/b", "a\n", "a" * 53]

REFUSED_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"is_enabled": "true"}, "is_enabled: 'true', expected a valid boolean"),
    ({"is_enabled": 1}, "is_enabled: 1, expected a valid boolean"),
    ({"is_enabled": None}, "is_enabled: null, expected a value other than null"),
    ({"cron_expression": 5}, "cron_expression: 5, expected a valid string"),
    ({"cron_expression": None}, "cron_expression: null, expected a value other than null"),
    ({"cron_expression": "* * * *"}, "cron_expression: '* * * *', expected five fields such as"),
    ({"cron_expression": "0," * 200 + "0 * * * *"}, "cron_expression: '0,0,"),
    ({"time_zone": "Local"}, "time_zone: 'Local', expected a name of the IANA time zone database"),
    ({"time_zone": ["UTC"]}, "time_zone: an array, expected a valid string"),
    ({"parameters": "date"}, "parameters: 'date', expected an object of values by name"),
    ({"parameters": {"days": None}}, "parameters: an object, expected a string, a number, true or false for"),
    ({"parameters": {"days": [1]}}, "parameters: an object, expected a string, a number, true or false for"),
    ({"concurrency_policy": "forbid"}, "concurrency_policy: 'forbid', expected 'Allow', 'Forbid' or 'Replace'"),
    ({"catch_up": "none"}, "catch_up: 'none', expected 'None', 'Latest' or 'All'"),
    ({"starting_deadline_seconds": 0}, "starting_deadline_seconds: 0, expected greater than or equal to 1"),
    ({"starting_deadline_seconds": 604_801}, "starting_deadline_seconds: 604801, expected less than or equal"),
    ({"starting_deadline_seconds": True}, "starting_deadline_seconds: true, expected a valid integer"),
    ({"starting_deadline_seconds": "60"}, "starting_deadline_seconds: '60', expected a valid integer"),
    ({"catch_up_limit": 0}, "catch_up_limit: 0, expected greater than or equal to 1"),
    ({"catch_up_limit": 1001}, "catch_up_limit: 1001, expected less than or equal to 1000"),
    ({"catch_up_limit": None}, "catch_up_limit: null, expected a value other than null"),
    ({"stagger_seconds": -1}, "stagger_seconds: -1, expected greater than or equal to 0"),
    ({"stagger_seconds": 3601}, "stagger_seconds: 3601, expected less than or equal to 3600"),
    ({"successful_runs_history_limit": 101}, "successful_runs_history_limit: 101, expected less than or equal to 100"),
    ({"failed_runs_history_limit": -1}, "failed_runs_history_limit: -1, expected greater than or equal to 0"),
    ({"timeout_seconds": 86_401}, "timeout_seconds: 86401, expected less than or equal to 86400"),
    ({"max_retries": 11}, "max_retries: 11, expected less than or equal to 10"),
    ({"priority": 1001}, "priority: 1001, expected less than or equal to 1000"),
    ({"quota_policy": "queue"}, "quota_policy: 'queue', expected 'Reject' or 'Queue'"),
    ({"queue_timeout_seconds": 0}, "queue_timeout_seconds: 0, expected greater than or equal to 1"),
    ({"ttl_seconds_after_finished": 5}, "ttl_seconds_after_finished: expected no such field"),
    ({"enabled": True}, "enabled: expected no such field"),
    ({"provider": "gcp"}, "provider: expected no such field"),
    ({"name": "other"}, "name: expected no such field"),
]


def spec_schema() -> dict[str, Any]:
    crd = yaml.safe_load(CRD.read_text())
    spec: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return spec


def refusal(model: Any, body: dict[str, Any]) -> Problem:
    with pytest.raises(RequestValidationError) as refused:
        parse(model, body)
    return problem_of_validation(refused.value)


@pytest.mark.parametrize("name", NAMES_ACCEPTED)
def test_an_objects_name_is_a_dns_name(name: str) -> None:
    assert fields.check_object_name(name) == name


@pytest.mark.parametrize("name", NAMES_REFUSED)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^at most 52 lower-case letters"):
        fields.check_object_name(name)


@pytest.mark.parametrize(("body", "words"), REFUSED_CHANGES)
def test_each_refusal_names_field_value_and_what_is_expected(body: dict[str, Any], words: str) -> None:
    assert refusal(ScheduleChange, body).detail.startswith(words)


def test_all_problems_of_a_body_are_told_at_once() -> None:
    body = {"provider": 1, "domain": "cost", "time_zone": "Local", "cron": "@daily", "name": None}
    problem = refusal(ScheduleCreate, body)
    errors = {error["field"]: error for error in problem.members["errors"]}  # type: ignore[attr-defined]
    assert errors.keys() == {"provider", "pipeline", "cron_expression", "time_zone", "cron", "name"}
    assert errors["provider"] == {"field": "provider", "value": 1, "expected": "a valid string"}
    assert "value" not in errors["pipeline"]


@pytest.mark.parametrize("name", NULLABLE)
def test_null_takes_away_what_has_no_default(name: str) -> None:
    assert parse(ScheduleChange, {name: None}).model_fields_set == {name}


def test_a_trigger_names_a_schedule_and_nothing_else() -> None:
    assert parse(TriggerRequest, {"schedule_id": "sch_1"}).schedule_id == "sch_1"
    for body in ({}, {"schedule_id": 1}, {"schedule_id": None}, {"schedule_id": "sch_1", "date": "2026-01-01"}):
        assert refusal(TriggerRequest, body).status == 422


def test_the_limits_are_those_of_the_custom_resource() -> None:
    spec = spec_schema()
    assert spec["cronExpression"]["maxLength"] == cron.MAX_CRON
    assert spec["timeZone"]["maxLength"] == cron.MAX_ZONE
    assert spec["parameters"]["maxProperties"] == MAX_PARAMETERS
    assert spec["parameters"]["additionalProperties"]["maxLength"] == MAX_PARAMETER_CHARACTERS
    (rule,) = spec["cronExpression"]["x-kubernetes-validations"]
    assert f"@({'|'.join(name[1:] for name in cron.CRON_NAMES)})|" in rule["rule"]
    properties = ScheduleChange.model_json_schema()["properties"]
    assert properties["concurrency_policy"]["enum"] == spec["concurrencyPolicy"]["enum"]
    assert properties["catch_up"]["enum"] == spec["catchUp"]["enum"]
    described = {**spec, **spec["runTemplate"]["properties"]}
    assert properties["quota_policy"]["enum"] == described["quotaPolicy"]["enum"]
    for name, path in LIMITED.items():
        kinds = properties[name].get("anyOf", [properties[name]])
        assert [kinds[0][each] for each in ("minimum", "maximum")] == [
            described[path][each] for each in ("minimum", "maximum")
        ], name
    of_backfill, there = BackfillRequest.model_json_schema()["properties"], spec["backfill"]["properties"]
    for name in ("from", "to", "id"):
        assert of_backfill[name]["maxLength"] == there[name]["maxLength"], name
    assert there["id"]["pattern"] == f"^{BACKFILL_ID.pattern}$"
    concurrency = of_backfill["concurrency"]
    assert [concurrency[each] for each in ("minimum", "maximum")] == [
        there["concurrency"][each] for each in ("minimum", "maximum")
    ]
    assert max(map(len, cron.time_zones())) <= cron.MAX_ZONE


def test_only_what_may_be_null_is_described_as_that() -> None:
    for model in (ScheduleCreate, ScheduleChange):
        properties = model.model_json_schema()["properties"]
        nullable = [name for name, field in properties.items() if "anyOf" in field or "default" in field]
        assert nullable == NULLABLE


@pytest.mark.parametrize(
    ("parts", "begins"),
    [
        (("gcp", "cost", "billing"), "gcp-cost-billing-"),
        (("open_ai", "unified", "usage_cost"), "open-ai-unified-usage-cost-"),
        (("a" * 63, "b", "c"), "a" * 43 + "-"),
        (("a" * 42, "_", "c"), "a" * 42 + "-"),
        (("a_", "_b_", "c__"), "a-b-c-"),
    ],
)
def test_a_schedule_without_a_name_gets_one_that_kubernetes_takes(parts: tuple[str, str, str], begins: str) -> None:
    name = generated_name(*parts)
    assert name.startswith(begins)
    assert len(name) == len(begins) + 8
    assert fields.check_object_name(name) == name
    assert generated_name(*parts) != name
