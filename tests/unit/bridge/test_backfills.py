"""The endpoints of backfills: begin, change, stop and show, over an API server in memory."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.api_keys import Scope
from pipeline_core.identifiers import schedule_id
from pipeline_core.kube.api import Json, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from support.bridge import Bridge

SPEC = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "0 6 * * *"}
OCTOBER = {"from": "2026-10-01", "to": "2026-10-31"}
STORED = {"id": "20261001-20261031", **OCTOBER, "concurrency": 1, "paused": False}
ENDED = ["Completed", "Invalid"]


def put_schedule(bridge: Bridge, *, backfill: Json | None = None, progress: Json | None = None, **more: Any) -> str:
    """A schedule as kubectl would have made it; `more` is further fields of its spec, or its whole metadata."""
    metadata = {"name": "nightly", **more.pop("metadata", {})}
    spec = {**SPEC, **more} | ({"backfill": backfill} if backfill else {})
    status = {"backfill": progress} if progress else {}
    made = bridge.kubernetes.put("pipelineschedules", {"metadata": metadata, "spec": spec, "status": status})
    return schedule_id(made["metadata"]["uid"])


def stored(bridge: Bridge) -> Any:
    (schedule,) = [body for (kind, _, _), body in bridge.kubernetes.objects.items() if kind == "pipelineschedules"]
    return schedule["spec"].get("backfill")


async def ask(bridge: Bridge, method: str, schedule: str, body: Any = None, prefix: str = "/api/v1") -> tuple[int, Any]:
    async with bridge.client(bridge.key(Scope.SCHEDULE)) as client:
        answer = await client.request(method, f"{prefix}/scheduler/backfill/{schedule}", json=body)
        return answer.status_code, answer.json()


async def refused(bridge: Bridge, method: str, schedule: str, body: Any = None) -> tuple[int, str, str]:
    status, problem = await ask(bridge, method, schedule, body)
    return status, problem["type"].removeprefix("urn:pipelines:problem:"), problem["detail"]


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_backfill_is_a_field_of_the_schedule(prefix: str) -> None:
    bridge = Bridge()
    bridge.plans.limits["acme"] = Limits(20, 500, 5)
    schedule = put_schedule(bridge, enabled=False)
    status, answer = await ask(bridge, "POST", schedule, OCTOBER, prefix)
    assert status == 200
    assert answer == {
        "success": True,
        "backfill_id": "20261001-20261031",
        "runs": 31,
        "first": "2026-10-01T06:00:00Z",
        "last": "2026-10-31T06:00:00Z",
        "left_out": 0,
        "quota": {"daily": {"limit": 20, "used": 0}, "monthly": {"limit": 500, "used": 0}, "days_at_least": 2},
    }
    assert stored(bridge) == STORED


async def test_days_are_those_of_the_schedules_zone() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, timeZone="Pacific/Kiritimati", cronExpression="0 0 * * *")
    _, answer = await ask(bridge, "POST", schedule, {"from": "2026-10-01", "to": "2026-10-01", "id": "one"})
    assert (answer["first"], answer["runs"], answer["backfill_id"]) == ("2026-09-30T10:00:00Z", 1, "one")


async def test_what_is_still_to_come_is_left_out() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    bridge.time = datetime(2026, 11, 22, 12, tzinfo=UTC)
    _, answer = await ask(bridge, "POST", schedule, {"from": "2026-11-21", "to": "2026-11-25"})
    assert (answer["runs"], answer["left_out"], answer["last"]) == (2, 3, "2026-11-22T06:00:00Z")


async def test_a_dry_run_changes_nothing_and_has_the_same_answer() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    dry = await ask(bridge, "POST", schedule, {**OCTOBER, "dry_run": True})
    assert stored(bridge) is None
    assert bridge.kubernetes.writes() == []
    assert dry == await ask(bridge, "POST", schedule, OCTOBER)


async def test_the_same_backfill_again_has_the_same_answer() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    first = await ask(bridge, "POST", schedule, {**OCTOBER, "concurrency": 3})
    assert await ask(bridge, "POST", schedule, OCTOBER) == first
    assert len(bridge.kubernetes.writes()) == 1
    assert stored(bridge)["concurrency"] == 3
    assert await ask(bridge, "POST", schedule, {**OCTOBER, "concurrency": 2}) == first
    assert stored(bridge) == {**STORED, "concurrency": 2}


async def test_the_same_backfill_again_neither_goes_on_where_it_is_paused_nor_begins_anew() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill={**OCTOBER, "paused": True})
    assert (await ask(bridge, "POST", schedule, OCTOBER))[0] == 200
    assert bridge.kubernetes.writes() == []


@pytest.mark.parametrize("progress", [None, {"id": "september", "state": "Completed"}, {"id": "t", "state": "Running"}])
async def test_another_one_under_way_is_named(progress: Json | None) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill={**STORED, "id": "t"}, progress=progress)
    for body in (OCTOBER, {**OCTOBER, "dry_run": True}):
        status, kind, detail = await refused(bridge, "POST", schedule, body)
        assert (status, kind) == (409, "backfill-under-way")
        assert detail.startswith("Backfill t of schedule nightly is under way: expected it to end")
    assert bridge.kubernetes.writes() == []


@pytest.mark.parametrize("state", ENDED)
async def test_one_that_is_over_gives_way_to_another_as_a_whole(state: str) -> None:
    bridge = Bridge()
    over = {"id": "t", "from": "2026-09-01", "to": "2026-09-02", "concurrency": 5, "paused": True}
    schedule = put_schedule(bridge, backfill=over, progress={"id": "t", "state": state})
    assert (await ask(bridge, "POST", schedule, OCTOBER))[0] == 200
    assert stored(bridge) == STORED


async def test_an_id_stands_for_one_range() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill={**STORED, "id": "o"}, progress={"id": "o", "state": "Completed"})
    found = await refused(bridge, "POST", schedule, {"id": "o", "from": "2026-10-01", "to": "2026-10-30"})
    assert found[:2] == (409, "backfill-id-used")
    assert "its range is 2026-10-01 to 2026-10-31" in found[2]


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({"state": "Completed", "covers": "2026-10-01/2026-10-31 0 6 * * * Etc/UTC"}, "it is completed"),
        ({"state": "Completed"}, "it is completed"),
        (
            {"state": "Stopped", "covers": "2026-10-01/2026-10-30 0 6 * * * Etc/UTC"},
            "its range is 2026-10-01 to 2026-1",
        ),
    ],
)
async def test_the_id_of_the_last_one_begins_nothing_anew(progress: Json, words: str) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, progress={"id": STORED["id"], **progress})
    found = await refused(bridge, "POST", schedule, OCTOBER)
    assert found[:2] == (409, "backfill-id-used")
    assert f"the schedule's last backfill, and {words}" in found[2]
    assert bridge.kubernetes.writes() == []


async def test_one_that_was_stopped_goes_on() -> None:
    bridge = Bridge()
    progress = {
        "id": STORED["id"],
        "state": "Stopped",
        "covers": "2026-10-01/2026-10-31 0 6 * * * Etc/UTC",
        "total": 31,
    }
    schedule = put_schedule(bridge, progress=progress)
    assert (await ask(bridge, "POST", schedule, OCTOBER))[0] == 200
    assert stored(bridge) == STORED
    shown = (await ask(bridge, "GET", schedule))[1]
    assert (shown["state"], shown["total"]) == ("pending", 31)
    assert (await ask(bridge, "PUT", schedule, {"paused": True}))[0] == 200


async def test_one_that_was_invalid_is_put_right_under_its_id() -> None:
    bridge = Bridge()
    wrong = {"id": STORED["id"], "from": "2026-10-02", "to": "2026-10-01"}
    schedule = put_schedule(bridge, backfill=wrong, progress={"id": STORED["id"], "state": "Invalid"})
    assert (await ask(bridge, "POST", schedule, OCTOBER))[0] == 200
    assert stored(bridge) == STORED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"from": "1.10.2026"}, "from: '1.10.2026', expected a day (2026-10-01) or a time"),
        ({"to": "2026-10-32"}, "to: '2026-10-32', expected a day of the calendar"),
        ({"to": "2026-09-30"}, "to: '2026-09-30', expected no earlier than from, which is 2026-10-01"),
        (
            {"from": "2026-10-01T06:00:01Z", "to": "2026-10-02T05:59:59Z"},
            "to: '2026-10-02T05:59:59Z', expected a range",
        ),
        ({"from": "2000-01-01"}, "to: '2026-10-31', expected at most 5000 ticks"),
        ({"from": None}, "from: null, expected a value other than null"),
        ({"from_": "2026-10-01"}, "from_: expected no such field"),
        ({"first": "2026-10-01"}, "first: expected no such field"),
        ({"from": "x" * 33}, "from: 'xxxx"),
        ({"id": "Oct"}, "id: 'Oct', expected at most 32 lower-case letters, digits"),
        ({"id": "o" * 33}, "id: 'ooo"),
        ({"concurrency": 0}, "concurrency: 0, expected greater than or equal to 1"),
        ({"concurrency": 11}, "concurrency: 11, expected less than or equal to 10"),
        ({"dry_run": "yes"}, "dry_run: 'yes', expected a valid boolean"),
    ],
)
async def test_a_backfill_that_cannot_be_is_refused_in_words(change: dict[str, Any], words: str) -> None:
    bridge = Bridge()
    status, kind, detail = await refused(bridge, "POST", put_schedule(bridge), {**OCTOBER, **change})
    assert (status, kind) == (422, "request-invalid")
    assert detail.startswith(words)
    assert bridge.kubernetes.writes() == []


async def test_what_is_all_to_come_is_told() -> None:
    bridge = Bridge()
    body = {"from": "2027-10-01", "to": "2027-10-31"}
    _, _, detail = await refused(bridge, "POST", put_schedule(bridge), body)
    assert detail == "to: '2027-10-31', expected a range in which the schedule has a tick that isn't still to come"


@pytest.mark.parametrize(
    ("spec", "status", "kind"),
    [
        ({"pipeline": "invoices"}, 404, "pipeline-not-found"),
        ({"parameters": {"day": 1}}, 422, "parameters-invalid"),
        ({"parameters": {"date": "{{today}}"}}, 422, "parameters-invalid"),
        ({"cronExpression": "61 * * * *"}, 422, "request-invalid"),
        ({"timeZone": "Mars/Base"}, 422, "request-invalid"),
    ],
)
async def test_no_backfill_is_begun_whose_runs_cannot_start(spec: Json, status: int, kind: str) -> None:
    bridge = Bridge()
    assert (await refused(bridge, "POST", put_schedule(bridge, **spec), OCTOBER))[:2] == (status, kind)
    assert bridge.kubernetes.writes() == []


async def test_a_schedule_whose_parameters_follow_the_tick_has_a_backfill() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, parameters={"date": "{{yesterday}}"})
    assert (await ask(bridge, "POST", schedule, OCTOBER))[0] == 200


@pytest.mark.parametrize(
    ("limits", "runs", "days"),
    [
        (Limits(31, 500, 5), 31, 1),
        (Limits(30, 500, 5), 31, 2),
        (Limits(1, 500, 5), 31, 31),
        (Limits(0, 500, 5), 31, None),
        (Limits(None, None, None), 31, None),
    ],
)
async def test_how_long_it_takes_at_least(limits: Limits, runs: int, days: int | None) -> None:
    bridge = Bridge()
    bridge.plans.limits["acme"] = limits
    _, answer = await ask(bridge, "POST", put_schedule(bridge), OCTOBER)
    assert answer["runs"] == runs
    assert answer["quota"].get("days_at_least") == days
    assert answer["quota"]["daily"].get("limit") == limits.per_day


@pytest.mark.parametrize(
    ("body", "expected"),
    [({"paused": True}, {**STORED, "paused": True}), ({"concurrency": 4}, {**STORED, "concurrency": 4})],
)
async def test_a_backfill_is_changed_while_it_is_under_way(body: Json, expected: Json) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill=dict(STORED), progress={"id": STORED["id"], "state": "Running"})
    assert await ask(bridge, "PUT", schedule, body) == (200, {"success": True})
    assert stored(bridge) == expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "expected at least one field of: paused, concurrency"),
        ({"paused": None}, "paused: null, expected a value other than null"),
        ({"paused": 1}, "paused: 1, expected a valid boolean"),
        ({"to": "2026-11-01"}, "to: expected no such field"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(body: Json, words: str) -> None:
    bridge = Bridge()
    status, kind, detail = await refused(bridge, "PUT", put_schedule(bridge, backfill=dict(STORED)), body)
    assert (status, kind) == (422, "request-invalid")
    assert detail.startswith(words)


@pytest.mark.parametrize("state", ENDED)
async def test_one_that_is_over_is_not_changed(state: str) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill=dict(STORED), progress={"id": STORED["id"], "state": state})
    assert (await refused(bridge, "PUT", schedule, {"paused": True}))[:2] == (404, "backfill-not-found")


async def test_a_backfill_is_stopped_once() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill=dict(STORED))
    assert await ask(bridge, "DELETE", schedule) == (200, {"success": True})
    assert stored(bridge) is None
    assert (await refused(bridge, "DELETE", schedule))[:2] == (404, "backfill-not-found")


async def test_progress_is_what_the_operator_says() -> None:
    bridge = Bridge()
    progress = {
        "id": STORED["id"],
        "state": "Waiting",
        "total": 31,
        "succeeded": 18,
        "failed": 2,
        "active": 1,
        "doneUntil": "2026-10-20T06:00:00Z",
        "message": "Daily pipeline limit (20) reached",
        "startedAt": "2026-11-22T12:00:00Z",
    }
    schedule = put_schedule(bridge, backfill=dict(STORED), progress=progress)
    assert await ask(bridge, "GET", schedule) == (
        200,
        {
            "backfill_id": STORED["id"],
            "state": "waiting",
            **OCTOBER,
            "concurrency": 1,
            "total": 31,
            "succeeded": 18,
            "failed": 2,
            "active": 1,
            "done_until": "2026-10-20T06:00:00Z",
            "message": "Daily pipeline limit (20) reached",
            "started_at": "2026-11-22T12:00:00Z",
        },
    )


async def test_before_the_operator_has_seen_it_a_backfill_is_pending() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill={**OCTOBER}, progress={"id": "september", "state": "Completed"})
    _, answer = await ask(bridge, "GET", schedule)
    counts = {"succeeded": 0, "failed": 0, "active": 0}
    assert answer == {"backfill_id": STORED["id"], "state": "pending", **OCTOBER, "concurrency": 1, **counts}


async def test_the_last_one_is_shown_after_it_was_stopped() -> None:
    bridge = Bridge()
    progress = {"id": "t", "state": "Stopped", "total": 3, "succeeded": 1, "completedAt": "2026-11-22T12:00:00Z"}
    _, answer = await ask(bridge, "GET", put_schedule(bridge, progress=progress))
    assert (answer["state"], answer["completed_at"], "from" in answer) == ("stopped", "2026-11-22T12:00:00Z", False)


async def test_a_schedule_without_a_backfill_says_so() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    for method, body in (("GET", None), ("PUT", {"paused": True}), ("DELETE", None)):
        found = await refused(bridge, method, schedule, body)
        assert found == (404, "backfill-not-found", f"No backfill is under way: {schedule}")


@pytest.mark.parametrize(
    ("method", "body"),
    [("POST", OCTOBER), ("PUT", {"paused": True}), ("DELETE", None)],
)
async def test_a_schedule_that_is_kept_in_git_has_its_backfills_there(method: str, body: Any) -> None:
    bridge = Bridge()
    labels = {"kustomize.toolkit.fluxcd.io/name": "tenants"}
    schedule = put_schedule(bridge, backfill=dict(STORED), metadata={"labels": labels})
    assert (await refused(bridge, method, schedule, body))[:2] == (409, "managed-by-git-ops")
    assert bridge.kubernetes.writes() == []


async def test_what_a_backfill_would_be_is_said_of_a_schedule_that_is_kept_in_git() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, metadata={"labels": {"kustomize.toolkit.fluxcd.io/name": "tenants"}})
    status, answer = await ask(bridge, "POST", schedule, {**OCTOBER, "dry_run": True})
    assert (status, answer["runs"]) == (200, 31)
    assert bridge.kubernetes.writes() == []


@pytest.mark.parametrize(
    ("method", "body"), [("POST", OCTOBER), ("GET", None), ("PUT", {"paused": True}), ("DELETE", None)]
)
async def test_another_organizations_schedule_is_as_one_that_does_not_exist(method: str, body: Any) -> None:
    bridge = Bridge()
    theirs = put_schedule(bridge, org="globex", backfill=dict(STORED))
    for unknown in (theirs, "sch_00000000000000000000000000000000", "nightly"):
        found = await refused(bridge, method, unknown, body)
        assert found == (404, "schedule-not-found", f"Schedule not found: {unknown}")
    assert bridge.kubernetes.writes() == []


async def test_one_of_two_that_begin_at_once_is_told_of_the_other() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    before = next(iter(bridge.kubernetes.objects.values()))

    def interfere(method: str, _: str) -> None:
        if method == "PATCH":
            bridge.kubernetes.put("pipelineschedules", {**before, "spec": {**SPEC, "backfill": {**STORED, "id": "t"}}})

    bridge.kubernetes.before = interfere
    assert (await refused(bridge, "POST", schedule, OCTOBER))[:2] == (409, "backfill-under-way")
    assert stored(bridge)["id"] == "t"


def change_before_the_patch(bridge: Bridge, **spec: Any) -> None:
    """Somebody else's change, after the schedule was read."""
    (before,) = bridge.kubernetes.objects.values()

    def interfere(method: str, _: str) -> None:
        if method == "PATCH":
            changed = {**before, "spec": {**before["spec"], **spec}, "metadata": dict(before["metadata"])}
            bridge.kubernetes.put("pipelineschedules", changed)

    bridge.kubernetes.before = interfere


@pytest.mark.parametrize("times", [{"cronExpression": "* * * * *"}, {"timeZone": "Europe/Madrid"}])
async def test_no_backfill_is_begun_by_times_that_are_others_meanwhile(times: Json) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    change_before_the_patch(bridge, **times)
    found = await refused(bridge, "POST", schedule, OCTOBER)
    assert found[:2] == (409, "conflict")
    assert "nightly was changed meanwhile: its times were changed; see what the backfill would be now" in found[2]
    assert stored(bridge) is None


@pytest.mark.parametrize(("method", "body"), [("PUT", {"paused": True}), ("DELETE", None)])
async def test_another_backfill_that_takes_its_place_is_left_alone(method: str, body: Any) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill=dict(STORED))
    change_before_the_patch(bridge, backfill={**STORED, "id": "t"})
    found = await refused(bridge, method, schedule, body)
    assert found[:2] == (409, "conflict")
    assert "its backfill is t, no longer 20261001-20261031" in found[2]
    assert stored(bridge) == {**STORED, "id": "t"}


CORRECTED = {"id": "o", **OCTOBER}
OF_ANOTHER_RANGE = {"id": "o", "state": "Invalid", "covers": "2026-10-01/2026-09-31 0 6 * * * Etc/UTC", "message": "no"}


async def test_one_that_was_put_right_under_its_id_is_pending_until_the_operator_has_seen_it() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, backfill=dict(CORRECTED), progress=OF_ANOTHER_RANGE)
    _, shown = await ask(bridge, "GET", schedule)
    assert (shown["state"], "message" in shown) == ("pending", False)
    assert (await refused(bridge, "POST", schedule, {**OCTOBER, "id": "p"}))[:2] == (409, "backfill-under-way")
    assert (await ask(bridge, "PUT", schedule, {"paused": True}))[0] == 200
    assert stored(bridge) == {**CORRECTED, "paused": True}


async def test_one_that_is_invalid_by_its_own_range_stays_so() -> None:
    bridge = Bridge()
    progress = {**OF_ANOTHER_RANGE, "covers": "2026-10-01/2026-10-31 0 6 * * * Etc/UTC"}
    schedule = put_schedule(bridge, backfill=dict(CORRECTED), progress=progress)
    assert (await ask(bridge, "GET", schedule))[1]["state"] == "invalid"


async def test_without_kubernetes_or_postgresql_nothing_is_begun() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)

    def gone(method: str) -> None:
        if method == "standing":
            raise StoreUnavailableError("no answer")

    bridge.records.fault = gone
    assert (await refused(bridge, "POST", schedule, OCTOBER))[:2] == (503, "store-unavailable")
    assert stored(bridge) is None

    def away(method: str, path: str) -> None:
        raise KubeUnavailableError(f"{method} {path}: no answer")

    bridge.kubernetes.before = away
    for method, body in (("POST", OCTOBER), ("GET", None), ("PUT", {"paused": True}), ("DELETE", None)):
        assert (await refused(bridge, method, schedule, body))[:2] == (503, "kubernetes-unavailable")


@pytest.mark.parametrize("scope", [Scope.READ, Scope.RUN])
async def test_it_takes_the_scope_of_schedules(scope: Scope) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    async with bridge.client(bridge.key(scope)) as client:
        for method, body in (("POST", OCTOBER), ("GET", None), ("PUT", {"paused": True}), ("DELETE", None)):
            answer = await client.request(method, f"/scheduler/backfill/{schedule}", json=body)
            assert answer.status_code == 403
