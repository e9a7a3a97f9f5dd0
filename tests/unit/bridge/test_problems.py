"""Every refusal is a problem of RFC 9457: of the domain, of services, of the framework, and of our own defects."""

import ast
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from pipeline_bridge.problem_examples import EXAMPLES
from pipeline_bridge.problems import Problem, problem_of, responses, title_of, type_of
from pipeline_bridge.refused_fields import invalid_fields
from pipeline_core.admission.quota import ConcurrentLimitReachedError, DailyLimitReachedError, MonthlyLimitReachedError
from pipeline_core.admission.subscription import OrganizationNotFoundError, SubscriptionInactiveError
from pipeline_core.catalog.problems import CatalogInvalidError
from pipeline_core.errors import (
    IntegrationNotActiveError,
    ParametersInvalidError,
    PipelineNotFoundError,
    PipelinesError,
    RequestInvalidError,
    TemplateInvalidError,
    UnknownProviderError,
)
from pipeline_core.kube.api import KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_core.store.errors import IdempotencyKeyReusedError, RunIdTakenError, StoreUnavailableError
from support.bridge import Bridge

BRIDGE = Path(__file__).parents[3] / "bridge" / "pipeline_bridge"
RBAC = 'pipelineruns.pipelines.dev is forbidden: User "system:serviceaccount:p:bridge" cannot create resource'
POLICY = "ValidatingAdmissionPolicy 'pipelines-tenancy' denied request: the namespace isn't one of acme"


@pytest.mark.parametrize(
    ("error", "status", "title", "detail"),
    [
        (UnknownProviderError("gcq"), 404, "Unknown provider: gcq", "Unknown provider: gcq"),
        (PipelineNotFoundError("a", "b", "c"), 404, "Pipeline not found: a/b/c", "Pipeline not found: a/b/c"),
        (RequestInvalidError("x"), 422, "Request invalid", "x"),
        (ParametersInvalidError("x"), 422, "Parameters invalid", "x"),
        (IdempotencyKeyReusedError("k"), 422, "Idempotency-Key was used for another request", None),
        (OrganizationNotFoundError("acme"), 403, "Organization not found", "Organization not found: acme"),
        (
            SubscriptionInactiveError("acme", "SUSPENDED"),
            403,
            "Organization subscription is SUSPENDED",
            "Pipeline execution not allowed for SUSPENDED organizations",
        ),
        (IntegrationNotActiveError("gcp"), 409, "gcp integration not active", "gcp integration not active"),
        (TemplateInvalidError("x"), 409, "Template invalid", "x"),
        (RunIdTakenError("run_1"), 409, "Run id taken", "run id run_1 belongs to another run"),
        (DailyLimitReachedError(20), 429, "Daily pipeline limit reached", "Daily pipeline limit (20) reached"),
        (MonthlyLimitReachedError(9), 429, "Monthly pipeline limit reached", "Monthly pipeline limit (9) reached"),
        (ConcurrentLimitReachedError(2), 429, "Concurrent pipeline limit reached", None),
        (KubeError(422, "Invalid", POLICY), 422, "Refused by Kubernetes", POLICY),
        (KubeError(403, "Forbidden", "exceeded quota: runs"), 422, None, "exceeded quota: runs"),
        (KubeError(409, "Conflict", "the object has been modified"), 409, "Conflict", None),
    ],
)
def test_what_a_client_can_mend(error: Any, status: int, title: str | None, detail: str | None) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert title in {None, problem.title}
    assert detail in {None, problem.detail}


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (StoreUnavailableError("connection to 10.0.0.7 refused, user pipelines"), 503, "5"),
        (KubeUnavailableError("GET /apis: connection to 10.0.0.7 refused"), 503, "5"),
        (KubeNotReachedError("POST /apis: connection to 10.0.0.7 refused"), 503, "5"),
        (CatalogInvalidError([]), 503, "5"),
        (KubeError(403, "Forbidden", RBAC), 502, None),
        (KubeError(404, "NotFound", "namespaces 10.0.0.7 not found"), 502, None),
        (PipelinesError("10.0.0.7"), 500, None),
    ],
)
def test_what_it_cannot_is_told_without_the_services_words(error: Any, status: int, retry: str | None) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.headers.get("Retry-After")) == (status, retry)
    assert not re.search(r"10\.0\.0\.7|pipelines$|system:|/apis", problem.detail)


def test_the_body() -> None:
    body = Problem(404, "RunNotFound", "Run not found: run_1", members={"run_id": "run_1"}).body(
        instance="/pipelines/status/acme/run_1", request_id="r1"
    )
    assert body == {
        "type": "urn:pipelines:problem:run-not-found",
        "title": "Run not found",
        "status": 404,
        "detail": "Run not found: run_1",
        "instance": "/pipelines/status/acme/run_1",
        "request_id": "r1",
        "run_id": "run_1",
    }


@pytest.mark.parametrize(
    ("reason", "kind", "title"),
    [
        ("RateLimited", "rate-limited", "Rate limited"),
        ("TooManyStreams", "too-many-streams", "Too many streams"),
        ("MalformedJson", "malformed-json", "Malformed JSON"),
        ("KubernetesRefused", "kubernetes-refused", "Kubernetes refused"),
    ],
)
def test_names_follow_from_the_reason(reason: str, kind: str, title: str) -> None:
    assert (type_of(reason), title_of(reason)) == (f"urn:pipelines:problem:{kind}", title)


def test_every_reason_that_the_bridge_gives_is_documented() -> None:
    told = {each.reason for examples in EXAMPLES.values() for each in examples}
    of_the_framework = {"NotFound", "MethodNotAllowed", "InternalError"}
    assert set(reasons()) <= told | of_the_framework


def reasons() -> list[str]:
    """The second argument of each `Problem(status, reason, …)` in the bridge's sources."""
    found = []
    for path in BRIDGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                reason = node.args[1]
                if isinstance(reason, ast.Constant):
                    found.append(str(reason.value))
    assert len(found) > 10
    return found


def test_documented_responses_can_be_narrowed() -> None:
    found = responses(403, 429, reasons=("RateLimited",))
    shown = {status: list(each["content"]["application/problem+json"]["examples"]) for status, each in found.items()}
    assert shown[429] == ["RateLimited"]
    assert len(shown[403]) > 1, "of a status of which none is named, all are shown"
    assert found[429]["headers"]["Retry-After"]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    count: Annotated[int, Field(ge=1, le=5)] = 1
    tags: list[int] = []


@pytest.fixture
def bridge() -> Bridge:
    bridge = Bridge()

    async def endpoint(body: Body, limit: Annotated[int, Query(ge=1)] = 1) -> None: ...

    async def defect() -> None:
        raise RuntimeError("the pepper is hunter2")

    bridge.app.add_api_route("/try", endpoint, methods=["POST"])
    bridge.app.add_api_route("/try/defect", defect, methods=["GET"])
    return bridge


@pytest.mark.parametrize(
    ("body", "query", "errors"),
    [
        ({}, "", [{"field": "name", "expected": "a value: it is required"}]),
        (
            {"name": 5, "count": 9, "nmae": "x"},
            "limit=zero",
            [
                {
                    "field": "limit",
                    "value": "zero",
                    "expected": "a valid integer, unable to parse string as an integer",
                },
                {"field": "name", "value": 5, "expected": "a valid string"},
                {"field": "count", "value": 9, "expected": "less than or equal to 5"},
                {"field": "nmae", "expected": "no such field"},
            ],
        ),
        (
            {"name": "x", "tags": [1, "y" * 500]},
            "",
            [
                {
                    "field": "tags[1]",
                    "value": "y" * 100 + "…",
                    "expected": "a valid integer, unable to parse string as an integer",
                }
            ],
        ),
        ([1], "", [{"field": "body", "expected": "a JSON object"}]),
        (
            {"name": {"a": 1}, "count": 2**70},
            "",
            [
                {"field": "name", "expected": "a valid string"},
                {"field": "count", "expected": "less than or equal to 5"},
            ],
        ),
    ],
)
async def test_wrong_fields_are_named(bridge: Bridge, body: Any, query: str, errors: list[dict[str, object]]) -> None:
    async with bridge.client() as client:
        answer = await client.post(f"/try?{query}", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()["errors"]
    assert [{**each, "expected": each["expected"].split(", with")[0]} for each in found] == errors
    assert all(str(each["field"]) in answer.json()["detail"] for each in errors)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("y" * 500, f"'{'y' * 100}'… (500 characters)"),
        ("x", "'x'"),
        ({"a": 1}, "an object"),
        ([1], "an array"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (2**70, "an integer of 71 bits"),
    ],
)
def test_what_was_given_is_told_in_words_of_json_and_short(value: object, told: str) -> None:
    problem = invalid_fields([{"field": "tags", "value": value, "expected": "a number"}])
    assert problem.detail == f"tags: {told}, expected a number"


def test_so_many_wrong_fields_are_told_and_how_many_more_there_are() -> None:
    problem = invalid_fields([{"field": f"f{number}", "expected": "no such field"} for number in range(8000)])
    assert (len(problem.members["errors"]), problem.members["more_errors"]) == (20, 7980)  # type: ignore[arg-type]
    assert problem.detail.startswith("f0: expected no such field; f1: ")
    assert problem.detail.endswith("; and 7995 more")
    assert "more_errors" not in invalid_fields([{"field": "f", "expected": "a number"}]).members


def test_a_reason_has_one_title_in_the_documentation_and_in_answers() -> None:
    for error in (RequestInvalidError("x"), UnknownProviderError("gcq"), KubeError(422, "Invalid", POLICY)):
        problem = problem_of(error)
        (example,) = [each for each in EXAMPLES[problem.status] if each.reason == problem.reason]
        assert (example.title or title_of(example.reason)) == problem.title


async def test_a_body_that_is_not_json(bridge: Bridge) -> None:
    async with bridge.client() as client:
        answer = await client.post("/try", content=b'{"name": ', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:pipelines:problem:malformed-json")
    assert answer.json()["detail"] == "body: expected JSON: Expecting value at character 9"


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/v1", "/api/v1/", "/api/v1/nothing", "/pipelines/run/acme/gcp"])
async def test_no_endpoint(bridge: Bridge, path: str) -> None:
    async with bridge.client() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:pipelines:problem:not-found")
    assert answer.json()["instance"] == path
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/pipelines/status/acme/run_1", "GET"),
        ("POST", "/scheduler/schedule/sch_1", "DELETE, PUT"),
        ("PATCH", "/scheduler/schedule", "POST"),
        ("POST", "/docs/assets/swagger-ui.css", "GET, HEAD"),
    ],
)
async def test_another_method(bridge: Bridge, prefix: str, method: str, path: str, allowed: str) -> None:
    async with bridge.client() as client:
        answer = await client.request(method, prefix + path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["type"] == "urn:pipelines:problem:method-not-allowed"


async def test_a_defect_is_not_told(bridge: Bridge) -> None:
    async with bridge.client() as client:
        answer = await client.get("/try/defect")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:pipelines:problem:internal-error")
    assert "hunter2" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
