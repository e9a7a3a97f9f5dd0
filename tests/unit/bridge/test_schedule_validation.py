"""What a request may say of a schedule, field by field, and the words in which anything else is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.exceptions import RequestValidationError

from pipeline_bridge import schedule_fields as fields
from pipeline_bridge.models.schedules import ScheduleChange, ScheduleCreate, TriggerRequest, parse
from pipeline_bridge.problems import Problem
from pipeline_bridge.refused_fields import problem_of_validation
from pipeline_bridge.run_objects import MAX_PARAMETER_CHARACTERS, MAX_PARAMETERS
from pipeline_bridge.schedule_objects import generated_name

CRD = Path(__file__).parents[3] / "crds" / "pipelineschedules.yaml"

CRON_ACCEPTED = [
    ("0 */6 * * *", "0 */6 * * *"),
    ("  0   3 *  * 1-5 ", "0 3 * * 1-5"),
    ("0\t0 1 JAN mon", "0 0 1 JAN mon"),
    ("*/15 0-6,22 1,15 * *", "*/15 0-6,22 1,15 * *"),
    ("0 0 29 2 *", "0 0 29 2 *"),
    ("0 0 L * *", "0 0 L * *"),
    *((name, name) for name in fields.CRON_NAMES),
    (" @daily ", "@daily"),
]
CRON_REFUSED = [
    ("1," * 32_000 + "1 * * * *", "at most 256 characters"),
    ("", "@annually"),
    ("   ", "@annually"),
    ("*/5 * * *", "@annually"),
    ("0 0 * * * 2030 1 1", "@annually"),
    ("* * * * * *", "it has 6 fields, and seconds and years aren't supported"),
    ("0 * * * * * 2030", "it has 7 fields, and seconds and years aren't supported"),
    ("@reboot", "@annually"),
    ("@DAILY", "@annually"),
    ("@every 5m", "@annually"),
    ("60 * * * *", "that ever fires: [60 * * * *] is not acceptable, out of range"),
    ("0 24 * * *", "[0 24 * * *] is not acceptable, out of range"),
    ("0 0 31 2 *", "'0 0 31 2 *' isn't a cron expression that ever fires: failed to find next date"),
    ("0 0 0 * *", "[0 0 0 * *] is not acceptable, out of range"),
    ("*/0 * * * *", "step '0' in field 0 is not acceptable"),
    ("H * * * *", "'H * * * *' isn't a cron expression"),
    ("R * * * *", "'R * * * *' isn't a cron expression"),
    ("a b c d e", "'a b c d e' isn't a cron expression"),
    ("\u0660 0 * * *", "'\u0660 0 * * *' isn't a cron expression"),
]
ZONES_REFUSED = [
    "",
    "Local",
    "localtime",
    "Factory",
    "europe/madrid",
    "Madrid",
    "CET-1",
    "+01:00",
    "../Etc/UTC",
    "posixrules",
]
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


@pytest.mark.parametrize(("expression", "stored"), CRON_ACCEPTED)
def test_a_cron_expression_is_stored_as_the_api_server_takes_it(expression: str, stored: str) -> None:
    assert fields.check_cron_expression(expression) == stored


@pytest.mark.parametrize(("expression", "words"), CRON_REFUSED)
def test_what_is_no_cron_expression_is_refused_in_words(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^five fields such as .* or one of @hourly") as refused:
        fields.check_cron_expression(expression)
    assert str(refused.value).endswith(words)


@pytest.mark.parametrize("zone", ["Etc/UTC", "UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_time_zone_is_a_name_of_the_iana_database(zone: str) -> None:
    assert fields.check_time_zone(zone) == zone


@pytest.mark.parametrize("zone", ZONES_REFUSED)
def test_other_time_zones_are_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"^a name of the IANA time zone database"):
        fields.check_time_zone(zone)


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


def test_no_deadline_is_the_one_thing_that_null_means() -> None:
    change = parse(ScheduleChange, {"starting_deadline_seconds": None})
    assert change.model_fields_set == {"starting_deadline_seconds"}


def test_a_trigger_names_a_schedule_and_nothing_else() -> None:
    assert parse(TriggerRequest, {"schedule_id": "sch_1"}).schedule_id == "sch_1"
    for body in ({}, {"schedule_id": 1}, {"schedule_id": None}, {"schedule_id": "sch_1", "date": "2026-01-01"}):
        assert refusal(TriggerRequest, body).status == 422


def test_the_limits_are_those_of_the_custom_resource() -> None:
    spec = spec_schema()
    assert spec["cronExpression"]["maxLength"] == fields.MAX_CRON
    assert spec["timeZone"]["maxLength"] == fields.MAX_ZONE
    assert spec["parameters"]["maxProperties"] == MAX_PARAMETERS
    assert spec["parameters"]["additionalProperties"]["maxLength"] == MAX_PARAMETER_CHARACTERS
    assert spec["startingDeadlineSeconds"]["maximum"] == fields.MAX_DEADLINE_SECONDS
    (rule,) = spec["cronExpression"]["x-kubernetes-validations"]
    assert f"@({'|'.join(name[1:] for name in fields.CRON_NAMES)})|" in rule["rule"]
    properties = ScheduleChange.model_json_schema()["properties"]
    assert properties["concurrency_policy"]["enum"] == spec["concurrencyPolicy"]["enum"]
    assert properties["catch_up"]["enum"] == spec["catchUp"]["enum"]
    assert max(map(len, fields.TIME_ZONES)) <= fields.MAX_ZONE


def test_only_what_may_be_null_is_described_as_that() -> None:
    for model in (ScheduleCreate, ScheduleChange):
        properties = model.model_json_schema()["properties"]
        nullable = [name for name, field in properties.items() if "anyOf" in field or "default" in field]
        assert nullable == ["starting_deadline_seconds"]


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
