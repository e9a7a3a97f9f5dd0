"""The API is what its OpenAPI document says, for whatever is sent: no 5xx, no answer that isn't described.

Requests are made from the document, valid and invalid ones, and sent to the installed bridge, with its real PostgreSQL
and API server behind it. Ids are those of a run and of schedules that are there, so that the endpoints are reached and
not only their refusals; an operation that never succeeded fails the test.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx2
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.http_api import NOOP, HttpApi, await_status
from support.installation import Installation

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = {
    "start_run", "cancel_run", "get_status", "get_events", "get_logs", "get_history", "list_schedules", "trigger",
    "create_schedule", "change_schedule", "delete_schedule", "all_pipelines", "pipelines_of_provider",
    "begin_backfill", "get_backfill", "change_backfill", "stop_backfill",
}  # fmt: skip
SMOKE, FULL = 40, 400
# Of all the runs that are asked for, so many go on at a time; the others are refused, which is an answer as well.
RUNS_AT_ONCE = 5
BACKFILL = {"from": "2026-10-01", "to": "2026-10-02", "id": "october"}
SCHEDULE = {"provider": "demo", "domain": "test", "pipeline": "noop", "cron_expression": "0 3 * * *"}


@dataclass
class World:
    """What is there to ask for: an organization with a key, a run that has ended, the document."""

    api: HttpApi
    org: str
    client: httpx2.Client
    run_id: str
    schema: schemathesis.schemas.BaseSchema

    @cached_property
    def kept(self) -> str:
        """The id of a schedule that stays."""
        return self.schedule()

    def schedule(self) -> str:
        """The id of a new schedule."""
        answer = self.client.post("scheduler/schedule", json=SCHEDULE)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["schedule_id"])

    def backfilled(self) -> str:
        """The id of a new schedule with a backfill."""
        schedule_id = self.schedule()
        answer = self.client.post(f"scheduler/backfill/{schedule_id}", json=BACKFILL)
        assert answer.status_code == 200, answer.text
        return schedule_id


@pytest.fixture(scope="module")
def world(installation: Installation) -> Iterator[World]:
    api = HttpApi.of(installation)
    org = api.organization(f"schema{secrets.token_hex(3)}", concurrent=RUNS_AT_ONCE)
    with api.client(api.key(org)) as client:
        run_id = client.post(f"pipelines/run/{org}/{NOOP}").json()["run_id"]
        await_status(installation, client, org, run_id, {"completed"})
        document = httpx2.get(f"{api.url}/openapi.json").json()
        yield World(api, org, client, run_id, schemathesis.openapi.from_dict(document))
        for schedule in client.get("scheduler/queue").json()["schedules"]:
            client.delete(f"scheduler/schedule/{schedule['schedule_id']}")


def operations(world: World) -> dict[str, Any]:
    found = [each.ok() for each in world.schema.get_all_operations() if isinstance(each, Ok)]
    return {each.definition.raw["operationId"]: each for each in found}


def test_every_operation_of_the_document_is_tested(world: World) -> None:
    assert operations(world).keys() == OPERATIONS


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_answers_are_those_of_the_document(world: World, name: str) -> None:
    explore(world, name, SMOKE)


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_answers_to_many_requests_are_those_of_the_document(world: World, name: str) -> None:
    explore(world, name, FULL)


def explore(world: World, name: str, count: int) -> None:
    """Send a request that is to succeed, and so many that may not; check all answers."""
    operation = operations(world)[name]
    # Until there is a slot: backfills that were begun before take one when the operator comes to them.
    world.api.installation.eventually(lambda: send(world, operation.Case(**valid(world, name))))
    cases = st.one_of(
        *(operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
    )

    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=cases, is_led=st.integers(0, 3))
    def ask(case: schemathesis.Case[Any], is_led: int) -> None:
        if is_led:  # else all of it is as it was made up
            led = valid(world, name)
            case.path_parameters = {**(case.path_parameters or {}), **led.get("path_parameters", {})}
            if is_led == 1 and "body" in led:
                case.body, case.media_type = led["body"], led["media_type"]
        send(world, case)

    ask()


def send(world: World, case: schemathesis.Case[Any]) -> bool:
    """Send it with the key and check the answer; whether it was a success."""
    # In place of what is made up for the key, or that would be all that is refused.
    case.headers = CaseInsensitiveDict({**dict(case.headers or {}), "X-API-Key": world.client.headers["X-API-Key"]})
    answer = case.call(base_url=world.api.url, timeout=30)
    assert answer.status_code != 401, answer.text
    case.validate_response(answer, checks=CHECKS)
    return 200 <= answer.status_code < 300


def valid(world: World, name: str) -> dict[str, Any]:
    """A request of the operation that succeeds."""
    run = {"org": world.org, "run_id": world.run_id}
    match name:
        case "start_run":
            path = {"org": world.org, "provider": "demo", "domain": "test", "pipeline": "noop"}
            return {"path_parameters": path, "body": {"rows": 3}, "media_type": "application/json"}
        case "cancel_run" | "get_status" | "get_events" | "get_logs":
            return {"path_parameters": run}
        case "get_history":
            return {"path_parameters": {"org": world.org}}
        case "pipelines_of_provider":
            return {"path_parameters": {"provider": "gcp"}}
        case "create_schedule":
            return {"body": SCHEDULE, "media_type": "application/json"}
        case "trigger":
            return {"body": {"schedule_id": world.kept}, "media_type": "application/json"}
        case "change_schedule":
            path = {"schedule_id": world.kept}
            return {"path_parameters": path, "body": {"is_enabled": False}, "media_type": "application/json"}
        case "delete_schedule":
            return {"path_parameters": {"schedule_id": world.schedule()}}
        case "begin_backfill":
            # Nothing else is carried out: what is made up may be a range of thousands of runs.
            path = {"schedule_id": world.kept}
            return {"path_parameters": path, "body": {**BACKFILL, "dry_run": True}, "media_type": "application/json"}
        case "get_backfill" | "stop_backfill":
            return {"path_parameters": {"schedule_id": world.backfilled()}}
        case "change_backfill":
            path = {"schedule_id": world.backfilled()}
            return {"path_parameters": path, "body": {"paused": True}, "media_type": "application/json"}
    return {}
