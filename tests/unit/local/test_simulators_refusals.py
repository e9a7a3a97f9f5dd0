"""What the simulated providers refuse, as the live services do: keys, versions, parameters, bounds."""

import pytest

from pipeline_local.simulators.server import ANTHROPIC_KEY, OPENAI_KEY
from support.simulated import ANTHROPIC, DAY, OPENAI, ask, unix, window, world

COSTS, COMPLETIONS = "/v1/organization/costs", "/v1/organization/usage/completions"
REPORT, MESSAGES = "/v1/organizations/cost_report", "/v1/organizations/usage_report/messages"
START = ("start_time", unix(DAY))
FROM = ("starting_at", f"{DAY}T00:00:00Z")
GROUPS = ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo")


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 401, "didn't provide an API key"),
        ({"authorization": OPENAI_KEY}, 401, "didn't provide an API key"),
        ({"authorization": f"Basic {OPENAI_KEY}"}, 401, "Incorrect API key"),
        ({"authorization": "Bearer sk-proj-abcdefghijkl1234"}, 401, "sk-proj-********1234"),
        ({"authorization": f"Bearer {ANTHROPIC_KEY}"}, 401, "Incorrect API key"),
        ({"authorization": "Bearer sk-admin-a b"}, 401, "Incorrect API key"),
    ],
)
def test_openai_takes_admin_keys_alone(headers: dict[str, str], status: int, words: str) -> None:
    answer = ask(world(), COSTS, [START], headers)
    assert answer.status == status
    assert words in answer.document["error"]["message"]
    assert OPENAI_KEY not in str(answer.document)


@pytest.mark.parametrize(
    ("headers", "status", "kind", "words"),
    [
        ({}, 401, "authentication_error", "x-api-key header is required"),
        ({"x-api-key": "sk-ant-api03-abcdef"}, 401, "authentication_error", "invalid x-api-key"),
        ({"authorization": f"Bearer {ANTHROPIC_KEY}"}, 401, "authentication_error", "x-api-key header"),
        ({"x-api-key": ANTHROPIC_KEY}, 400, "invalid_request_error", "anthropic-version: header is required"),
        ({**ANTHROPIC, "anthropic-version": "2023-01-01"}, 400, "invalid_request_error", "not a valid version"),
    ],
)
def test_anthropic_takes_admin_keys_with_the_version(
    headers: dict[str, str], status: int, kind: str, words: str
) -> None:
    answer = ask(world(), REPORT, [FROM], headers)
    assert (answer.status, answer.document["error"]["type"]) == (status, kind)
    assert words in answer.document["error"]["message"]
    assert answer.document["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("path", "pairs", "param", "code"),
    [
        (COSTS, [], "start_time", "missing_required_parameter"),
        (COSTS, [("start_time", "2026-10-05")], "start_time", "invalid_type"),
        (COSTS, [("start_time", "9" * 18)], "start_time", "invalid_value"),
        (COSTS, [START, ("end_time", START[1])], "end_time", "invalid_value"),
        (COSTS, [START, ("end_time", "1")], "end_time", "invalid_value"),
        (COSTS, [START, ("limit", "181")], "limit", "integer_above_max_value"),
        (COSTS, [START, ("limit", "0")], "limit", "integer_below_min_value"),
        (COSTS, [START, ("limit", "many")], "limit", "invalid_type"),
        (COSTS, [START, ("bucket_width", "1h")], "bucket_width", "invalid_value"),
        (COSTS, [START, ("group_by[]", "api_key_id")], "group_by", "invalid_value"),
        (COSTS, [START, ("models", "gpt-5")], "models", "unknown_parameter"),
        (COSTS, [START, START], "start_time", "duplicate_parameter"),
        (COSTS, [START, ("Limit", "1")], "Limit", "unknown_parameter"),
        (COSTS, [START, ("limit[]", "1")], "limit[]", "unknown_parameter"),
        (COMPLETIONS, [START, ("limit", "32")], "limit", "integer_above_max_value"),
        (COMPLETIONS, [START, ("bucket_width", "1h"), ("limit", "169")], "limit", "integer_above_max_value"),
        (COMPLETIONS, [START, ("bucket_width", "1m"), ("limit", "1441")], "limit", "integer_above_max_value"),
        (COMPLETIONS, [START, ("bucket_width", "1w")], "bucket_width", "invalid_value"),
        (COMPLETIONS, [START, ("group_by", "line_item")], "group_by", "invalid_value"),
        (COMPLETIONS, [START, ("batch", "yes")], "batch", "invalid_value"),
        ("/v1/organization/usage/vector_stores", [START, ("group_by", "model")], "group_by", "invalid_value"),
        ("/v1/organization/usage/vector_stores", [START, ("batch", "true")], "batch", "unknown_parameter"),
    ],
)
def test_openai_refuses_what_it_does_not_know(path: str, pairs: list[tuple[str, str]], param: str, code: str) -> None:
    answer = ask(world(), path, pairs)
    told = answer.document["error"]
    assert (answer.status, told["param"], told["code"]) == (400, param, code)
    assert param.lower() in told["message"].lower() or "Supported values" in told["message"]


@pytest.mark.parametrize(
    ("path", "pairs", "words"),
    [
        (REPORT, [], "'starting_at'"),
        (REPORT, [("starting_at", "2026-10-05")], "RFC 3339"),
        (REPORT, [("starting_at", "2026-10-05T00:00:00")], "RFC 3339"),
        (REPORT, [("starting_at", unix(DAY))], "RFC 3339"),
        (REPORT, [FROM, ("ending_at", FROM[1])], "'ending_at': expected a time after the start"),
        (REPORT, [FROM, ("limit", "32")], "Expected a value <= 31, but got 32"),
        (REPORT, [FROM, ("bucket_width", "1h")], "'1h'"),
        (REPORT, [FROM, ("group_by[]", "model")], "'model'"),
        (REPORT, [FROM, ("group_by", "description")], "Unknown parameter: 'group_by'"),
        (REPORT, [FROM, ("models[]", "claude")], "Unknown parameter"),
        (MESSAGES, [FROM, *(("group_by[]", name) for name in GROUPS)], "at most 5 items after validation, not 6"),
        (MESSAGES, [FROM, ("group_by[]", "description")], "'description'"),
        (MESSAGES, [FROM, ("bucket_width", "1h"), ("limit", "169")], "<= 168"),
    ],
)
def test_anthropic_refuses_what_it_does_not_know(path: str, pairs: list[tuple[str, str]], words: str) -> None:
    answer = ask(world(), path, pairs)
    assert (answer.status, answer.document["error"]["type"]) == (400, "invalid_request_error")
    assert words in answer.document["error"]["message"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/organization/usage/everything", OPENAI),
        ("/v1/organization/usage/", OPENAI),
        ("/v1/organizations/usage_report", ANTHROPIC),
    ],
)
def test_there_is_nothing_elsewhere(path: str, headers: dict[str, str]) -> None:
    assert ask(world(), path, [START], headers).status == 404


@pytest.mark.parametrize("written", ["group_by", "group_by[]"])
def test_openai_takes_repeated_parameters_either_way(written: str) -> None:
    query = [*window("openai", DAY, DAY), (written, "project_id"), (written, "line_item")]
    answer = ask(world(), COSTS, query)
    assert answer.document["data"][0]["results"][0]["line_item"]


def test_five_groups_are_let_through() -> None:
    query = [*window("anthropic", DAY, DAY), *(("group_by[]", name) for name in GROUPS[:5])]
    assert ask(world(), MESSAGES, query).status == 200
