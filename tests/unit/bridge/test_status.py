"""The status of a run: the specification's shape field for field, and a run of others is as one that isn't there."""

from datetime import timedelta, timezone
from typing import Any

import pytest

from pipeline_bridge.models.records import STATUS_EXAMPLES, PipelineRunStatus, rfc3339, status_body
from pipeline_core.api_keys import Scope
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.views import RunStatus
from support.bridge import Bridge
from support.runs import T0, after, new_run

WORDS = ["pending", "validating", "running", "processing", "completed", "failed", "cancelled"]


async def ask(bridge: Bridge, path: str, *, prefix: str = "/api/v1", org: str = "acme") -> tuple[int, Any]:
    async with bridge.client(bridge.key(Scope.READ, org=org)) as client:
        answer = await client.get(f"{prefix}/pipelines/status/{path}")
        return answer.status_code, answer.json()


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_run_that_was_just_begun_has_its_status(prefix: str) -> None:
    bridge = Bridge()
    await bridge.records.begin(new_run())
    assert await ask(bridge, "acme/run_1", prefix=prefix) == (
        200,
        {"run_id": "run_1", "status": "pending", "progress": 0},
    )


async def test_a_run_that_has_ended_tells_how() -> None:
    bridge = Bridge()
    await bridge.records.begin(new_run())
    await bridge.records.advance("run_1", phase=Phase.RUNNING, at=after(2), started_at=after(1), progress=40)
    await bridge.records.finish("run_1", phase=Phase.COMPLETED, at=after(3), records_processed=0)
    assert await ask(bridge, "acme/run_1") == (
        200,
        {
            "run_id": "run_1",
            "status": "completed",
            "progress": 100,
            "records_processed": 0,
            "started_at": "2026-11-03T23:59:59.123456Z",
            "completed_at": "2026-11-04T00:00:01.123456Z",
        },
    )


@pytest.mark.parametrize(
    "run_id", ["run_2", "run_9", "run_", "nonsense", "run_1%00", "run_1%0A", "RUN_1", "%F0%9F%98%80"]
)
async def test_what_isnt_a_run_of_this_organization_isnt_found(run_id: str) -> None:
    bridge = Bridge()
    await bridge.records.begin(new_run("run_1"))
    await bridge.records.begin(new_run("run_2", org_slug="globex"))
    status, problem = await ask(bridge, f"acme/{run_id}")
    assert (status, problem["type"]) == (404, "urn:pipelines:problem:run-not-found")
    assert problem["detail"].startswith("Run not found: ")
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "request_id"}


async def test_postgresql_away_is_a_503_that_says_when_to_ask_again() -> None:
    bridge = Bridge()

    def away(_: str) -> None:
        raise StoreUnavailableError("10.0.0.7 refuses")

    bridge.records.fault = away
    async with bridge.client(bridge.key(Scope.READ)) as client:
        answer = await client.get("/pipelines/status/acme/run_1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "10.0.0.7" not in answer.text


@pytest.mark.parametrize("phase", list(Phase))
def test_a_body_is_the_documented_model_and_holds_no_null(phase: Phase) -> None:
    bare = RunStatus("run_1", phase, 7, None, None, None, None, 1)
    assert status_body(bare) == {"run_id": "run_1", "status": phase.word, "progress": 7}
    full = RunStatus("run_1", phase, 7, 5, "why", after(1), after(2), 3)
    shown = PipelineRunStatus.model_validate(status_body(full))
    assert shown.model_dump() == {
        "run_id": "run_1", "status": phase.word, "progress": 7, "records_processed": 5, "error_message": "why",
        "started_at": after(1), "completed_at": after(2),
    }  # fmt: skip


def test_the_documented_model_is_the_specifications_and_its_examples_fit() -> None:
    schema = PipelineRunStatus.model_json_schema()
    assert schema["required"] == ["run_id", "status"]
    assert list(schema["properties"]) == [
        "run_id", "status", "progress", "records_processed", "error_message", "started_at", "completed_at"
    ]  # fmt: skip
    assert schema["properties"]["status"]["enum"] == WORDS
    assert {field.get("type") for field in schema["properties"].values()} == {"string", "integer"}
    for example in STATUS_EXAMPLES.values():
        assert PipelineRunStatus.model_validate(example).model_dump(mode="json", exclude_none=True) == example


def test_times_are_in_utc_whatever_zone_they_came_in() -> None:
    assert rfc3339(T0.replace(microsecond=0).astimezone(timezone(timedelta(hours=-7)))) == "2026-11-03T23:59:58Z"
