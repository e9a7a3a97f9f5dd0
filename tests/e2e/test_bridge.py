"""The HTTP API on a real cluster: limits hold whatever is asked for at once, nothing is lost when something dies."""

import asyncio
import secrets
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import httpx2
import pytest

from pipeline_core.api_keys import Scope
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.runs import StoredRun
from support.bridge_of_a_test import bridge_by, bridge_that_waits, way_to_kubernetes
from support.http_api import FINAL, NOOP, HttpApi, await_status
from support.installation import Installation
from support.organizations import empty_organization

AT_ONCE, LIMIT = 100, 10
SAME = 50
# A minute until a slot may be looked at, and the operator's round of healing.
HEALS_WITHIN = 120.0


@pytest.fixture(scope="module")
def api(installation: Installation) -> HttpApi:
    return HttpApi.of(installation)


def fresh(name: str) -> str:
    """An organization's slug that no earlier test has used anything of."""
    return f"{name}{secrets.token_hex(3)}"


def post_at_once(api: HttpApi, key: str, path: str, headers: list[dict[str, str]]) -> list[httpx2.Response]:
    """The answers to as many requests, sent at the same time."""

    async def send_all() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=len(headers))
        async with httpx2.AsyncClient(base_url=f"{api.url}/api/v1", timeout=60, limits=limits) as client:
            return await asyncio.gather(*(client.post(path, headers={"X-API-Key": key, **each}) for each in headers))

    return asyncio.run(send_all())


def objects(installation: Installation, org: str) -> list[str]:
    """The run ids of the organization's PipelineRuns."""
    found = installation.kubectl.read("plr", f"--selector=pipelines.dev/org={org}")["items"]
    return [run["spec"]["runId"] for run in found]


def held(api: HttpApi, org: str) -> tuple[int, int]:
    """How many runs of today the organization has used, and how many slots it holds."""
    used = api.standing(org).used_today
    return used.day_used, used.concurrent


def test_a_hundred_at_once_over_a_daily_limit_of_ten_are_ten_runs(api: HttpApi, installation: Installation) -> None:
    org = api.organization(fresh("rush"), per_day=LIMIT)
    key = api.key(org, Scope.RUN, Scope.READ)
    answers = post_at_once(api, key, f"pipelines/run/{org}/{NOOP}", [{}] * AT_ONCE)
    started = [each.json()["run_id"] for each in answers if each.status_code == 200]
    refused = [each for each in answers if each.status_code == 429]
    assert (len(set(started)), len(refused)) == (LIMIT, AT_ONCE - LIMIT)
    assert {each.json()["type"] for each in refused} == {"urn:pipelines:problem:daily-limit-reached"}
    assert {each.headers["X-Quota-Remaining-Daily"] for each in refused} == {"0"}
    assert all(int(each.headers["Retry-After"]) > 0 for each in refused)
    assert sorted(objects(installation, org)) == sorted(started)
    with api.client(key) as client:
        for run_id in started:
            await_status(installation, client, org, run_id, {"completed"}, seconds=240)
        history = client.get(f"pipelines/history/{org}", params={"limit": 500}).json()
    assert {run["run_id"] for run in history["runs"]} == set(started)  # a refusal leaves no record
    installation.eventually(lambda: held(api, org) == (LIMIT, 0))


def test_the_same_request_fifty_times_at_once_is_one_run(api: HttpApi, installation: Installation) -> None:
    org = api.organization(fresh("same"))
    key = api.key(org, Scope.RUN)
    answers = post_at_once(api, key, f"pipelines/run/{org}/{NOOP}", [{"Idempotency-Key": "once"}] * SAME)
    assert {each.status_code for each in answers} == {200}
    (run_id,) = {each.json()["run_id"] for each in answers}
    assert objects(installation, org) == [run_id]
    installation.eventually(lambda: held(api, org) == (1, 0))


def die_before_the_object(api: HttpApi, folder: Path, org: str, key: str, headers: dict[str, str]) -> None:
    """Ask a bridge for a run, and kill it when the slot is reserved and the object isn't made."""
    with bridge_that_waits(api, folder) as (bridge, reached), ThreadPoolExecutor(1) as pool:
        url = f"{bridge.url}/api/v1/pipelines/run/{org}/{NOOP}"
        asked = pool.submit(httpx2.post, url, headers={"X-API-Key": key, **headers}, timeout=60)
        assert reached.wait(30), asked.result(1).text
        bridge.process.send_signal(signal.SIGKILL)
        assert isinstance(asked.exception(60), httpx2.TransportError)
    assert held(api, org) == (1, 1)
    assert objects(api.installation, org) == []


def test_after_a_crash_the_same_request_goes_on_with_the_slot(
    api: HttpApi, installation: Installation, tmp_path: Path
) -> None:
    org = api.organization(fresh("again"))
    key = api.key(org)
    same = {"Idempotency-Key": "nightly"}
    die_before_the_object(api, tmp_path, org, key, same)
    with api.client(key) as client:
        answer = client.post(f"pipelines/run/{org}/{NOOP}", headers=same)
        assert answer.status_code == 200, answer.text
        await_status(installation, client, org, answer.json()["run_id"], {"completed"})
    assert len(objects(installation, org)) == 1
    installation.eventually(lambda: held(api, org) == (1, 0))


@pytest.mark.full
def test_after_a_crash_the_slot_comes_back_by_itself(api: HttpApi, installation: Installation, tmp_path: Path) -> None:
    org = api.organization(fresh("heals"), concurrent=1)
    key = api.key(org)
    die_before_the_object(api, tmp_path, org, key, {})
    with api.client(key) as client:
        (run,) = client.get(f"pipelines/history/{org}").json()["runs"]
        assert run["status"] == "pending"
        installation.eventually(lambda: held(api, org)[1] == 0, HEALS_WITHIN)
        ended = client.get(f"pipelines/status/{org}/{run['run_id']}").json()
        assert (ended["status"], objects(installation, org)) == ("failed", [])
        assert "never made" in ended["error_message"]
        answer = client.post(f"pipelines/run/{org}/{NOOP}")
        assert answer.status_code == 200, answer.text
        await_status(installation, client, org, answer.json()["run_id"], {"completed"})


def test_with_kubernetes_away_a_run_is_refused_and_nothing_is_held(
    api: HttpApi, installation: Installation, tmp_path: Path
) -> None:
    org = api.organization(fresh("away"))
    key = api.key(org)
    with (
        way_to_kubernetes(installation.paths) as way,
        bridge_by(api, way.url, tmp_path) as bridge,
        httpx2.Client(base_url=bridge.url, headers={"X-API-Key": key}, timeout=60) as client,
    ):
        with way.closed():
            answer = client.post(f"pipelines/run/{org}/{NOOP}")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), answer.text
            assert answer.json()["type"] == "urn:pipelines:problem:kubernetes-unavailable"
            assert held(api, org) == (0, 0)  # it was certainly not made
            assert client.get(f"pipelines/history/{org}").status_code == 200
        answer = client.post(f"pipelines/run/{org}/{NOOP}")
        assert answer.status_code == 200, answer.text
        await_status(installation, client, org, answer.json()["run_id"], {"completed"})
    assert held(api, org)[0] == 1


def test_with_postgresql_away_it_says_so_and_goes_on_by_itself(api: HttpApi, installation: Installation) -> None:
    org = api.organization(fresh("dark"))
    with api.client(api.key(org)) as client:
        path = f"pipelines/run/{org}/{NOOP}"
        assert client.post(path).status_code == 200
        with installation.postgresql_stopped():
            with ThreadPoolExecutor(2) as pool:  # each takes its time to give up
                asked = [pool.submit(client.post, path), pool.submit(client.get, f"pipelines/history/{org}")]
            for answer in (each.result() for each in asked):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), answer.text
                assert answer.json()["type"] == "urn:pipelines:problem:store-unavailable"
        again = installation.eventually(
            lambda: next((each for each in [client.post(path)] if each.status_code == 200), None)
        )
        await_status(installation, client, org, again.json()["run_id"], {"completed"})


def test_a_run_by_http_is_the_run_of_kubectl(api: HttpApi, installation: Installation) -> None:
    """The same rows, and records that differ only in who asked and when."""
    day = installation.last_day
    with empty_organization(installation, org := fresh("twin")):
        with installation.run("e2e-twin", org=org, parameters={"date": str(day)}) as name:
            by_kubectl = record(installation, installation.await_end(name)["status"]["runId"])
            rows = installation.target_sums(org, day, day)
        key = api.key(org)
        with api.client(key) as client:
            path = f"pipelines/run/{org}/gcp/cost/billing"
            answer = client.post(path, json={"date": str(day)}, headers={"X-Request-Id": "e2e-twin"})
            run_id = answer.json()["run_id"]
            await_status(installation, client, org, run_id, {"completed"})
            lines = client.get(f"pipelines/logs/{org}/{run_id}").text.splitlines()
        assert installation.target_sums(org, day, day) == rows == installation.source_sums(day, day)
    by_http = record(installation, run_id)
    theirs = {
        "run_id",
        "created_at",
        "created_by",
        "started_at",
        "completed_at",
        "object_name",
        "object_uid",
        "job_name",
    }
    of_the_moment = theirs | {"transitions", "revision"}
    assert {name: value for name, value in asdict(by_http).items() if name not in of_the_moment} == {
        name: value for name, value in asdict(by_kubectl).items() if name not in of_the_moment
    }
    assert by_http.created_by == f"key:{key.split('_')[1]}"
    assert lines
    assert all('"request_id": "e2e-twin"' in line and run_id in line for line in lines)


def record(installation: Installation, run_id: str) -> StoredRun:
    found = installation.record(run_id)
    assert found is not None
    return found


def test_cancel_of_one_that_waits_to_start(api: HttpApi, installation: Installation) -> None:
    """Cancelled in the moment after it was asked for, before its container can have started."""
    org = api.organization(fresh("early"))
    with api.client(api.key(org)) as client:
        run_id = client.post(f"pipelines/run/{org}/{NOOP}", json={"seconds": 60}).json()["run_id"]
        answer = client.post(f"pipelines/cancel/{org}/{run_id}").json()
        assert answer["success"] is True
        assert answer["status"] in {"pending", "validating"}
        ended = await_status(installation, client, org, run_id, {"cancelled"})
        gone(api, org, run_id)
        # A container that was faster counts; a run that never had one gives its unit back.
        assert held(api, org)[0] == ("started_at" in ended)


def test_cancel_of_a_running_one(api: HttpApi, installation: Installation) -> None:
    org = api.organization(fresh("late"))
    with api.client(api.key(org)) as client:
        run_id = client.post(f"pipelines/run/{org}/{NOOP}", json={"seconds": 60}).json()["run_id"]
        await_status(installation, client, org, run_id, {"running", "processing"})
        answer = client.post(f"pipelines/cancel/{org}/{run_id}").json()
        assert answer["success"] is True
        assert answer["status"] not in FINAL
        ended = await_status(installation, client, org, run_id, {"cancelled"})
        assert ended["error_message"] == "Cancelled by spec.cancel"
        gone(api, org, run_id)
        assert client.post(f"pipelines/cancel/{org}/{run_id}").json() == {"success": False, "status": "cancelled"}


def gone(api: HttpApi, org: str, run_id: str) -> None:
    """Nothing of the run is alive, and its slot is free."""
    assert api.installation.alive(run_id) == []
    assert record(api.installation, run_id).phase is Phase.CANCELLED
    api.installation.eventually(lambda: held(api, org)[1] == 0)
