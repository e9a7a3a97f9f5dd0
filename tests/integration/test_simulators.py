"""The simulated providers as a process, over plain HTTP: what only a server can do, and its control."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipeline_local.errors import LocalError
from pipeline_local.services import simulators as service
from pipeline_local.services.processes import LOOPBACK, free_port, wait_until_ready
from pipeline_local.simulators.__main__ import refuse_strangers
from pipeline_local.simulators.server import ANTHROPIC_KEY, OPENAI_KEY, start_simulators
from pipeline_local.simulators.truth import truth
from pipeline_local.simulators.world import World
from support.simulated import ANTHROPIC, DAY, OPENAI, unix

SEED = 7
COSTS = f"/openai/v1/organization/costs?start_time={unix(DAY)}"
REPORT = f"/anthropic/v1/organizations/cost_report?starting_at={DAY}T00:00:00Z"


class Asked:
    """A plain client of one simulator."""

    def __init__(self, port: int) -> None:
        self.port = port

    def send(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Raises what http.client does where the connection breaks."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers or {})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        status, _, body = self.send("GET", path, headers)
        assert status == 200, body
        return json.loads(body)

    def plan(self, **fields: Any) -> None:
        status, _, body = self.send("POST", "/_simulator/plan", body=fields)
        assert status == 200, body


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    chosen, no_log = free_port(), tmp_path_factory.mktemp("simulators") / "log"
    process = service.launch(LOOPBACK, chosen, SEED)
    try:
        wait_until_ready(service.NAME, process, lambda: service.is_ready(LOOPBACK, chosen), seconds=30, log=no_log)
        yield chosen
    finally:
        process.send_signal(service.STOP_SIGNAL)
        assert process.wait(20) == -signal.SIGTERM


@pytest.fixture
def asked(port: int) -> Asked:
    made = Asked(port)
    made.send("POST", "/_simulator/reset")
    return made


def test_another_process_tells_the_same_and_the_truth_of_it(asked: Asked) -> None:
    first, last = date(2026, 10, 1), date(2026, 10, 31)
    for provider, headers, key in (("openai", OPENAI, OPENAI_KEY), ("anthropic", ANTHROPIC, ANTHROPIC_KEY)):
        query = f"provider={provider}&first_day={first}&last_day={last}"
        told = asked.get(f"/_simulator/truth?{query}", headers)
        known = truth(World(SEED), provider, key, first, last)  # type: ignore[arg-type]
        assert told["sums"]["costs"] == {
            str(day): {name: str(value) for name, value in sums.items()} for day, sums in known.sums["costs"].items()
        }
        assert len(told["rows"]["usage"]) == len(known.rows["usage"]) > 100
    with start_simulators(seed=SEED) as same:
        assert Asked(int(same.url.rpartition(":")[2])).get(COSTS, OPENAI) == asked.get(COSTS, OPENAI)


@pytest.mark.parametrize(
    ("query", "headers", "words"),
    [
        ("provider=gcp&first_day=2026-10-01&last_day=2026-10-01", OPENAI, "expected openai or anthropic"),
        ("provider=openai&first_day=2026-10-01&last_day=2026-10-01", ANTHROPIC, "an admin key in the header"),
        ("provider=openai&first_day=2026-10-02&last_day=2026-10-01", OPENAI, "last_day"),
        ("provider=openai&first_day=today&last_day=2026-10-01", OPENAI, "today"),
        ("provider=openai&first_day=2026-10-01&last_day=2026-10-01&bucket_width=1w", OPENAI, "bucket_width"),
    ],
)
def test_a_wrong_question_for_the_truth_is_refused(
    asked: Asked, query: str, headers: dict[str, str], words: str
) -> None:
    status, _, body = asked.send("GET", f"/_simulator/truth?{query}", headers)
    assert status == 400
    assert words in json.loads(body)["error"]


def test_a_plan_is_followed_shown_and_forgotten(asked: Asked) -> None:
    asked.plan(script=[{"path": "costs", "status": 418, "body": {"a": 1}, "headers": {"retry-after": "1"}}])
    assert asked.get("/_simulator/plan")["script"][0]["status"] == 418
    status, headers, body = asked.send("GET", COSTS, OPENAI)
    assert (status, headers["retry-after"], json.loads(body)) == (418, "1", {"a": 1})
    asked.plan(faults={"503": 1}, in_a_row=1)
    status, headers, body = asked.send("GET", REPORT, ANTHROPIC)
    assert (status, headers["content-type"], body[:6]) == (503, "text/html", b"<html>")
    asked.send("POST", "/_simulator/reset")
    assert asked.send("GET", REPORT, ANTHROPIC)[0] == 200
    status, _, body = asked.send("POST", "/_simulator/plan", body={"faults": {"418": 1}})
    assert (status, "faults.418" in json.loads(body)["error"]) == (400, True)


def test_what_was_answered_before_follows_a_new_plan_and_another_key(asked: Asked) -> None:
    before = asked.send("GET", COSTS, OPENAI)[2]
    assert asked.send("GET", COSTS, OPENAI)[2] == before
    assert asked.send("GET", COSTS, {"authorization": f"Bearer {OPENAI_KEY}2"})[2] != before
    assert asked.send("GET", COSTS)[0] == 401
    assert asked.send("GET", REPORT, ANTHROPIC)[0] == 200
    assert asked.send("GET", REPORT, {**ANTHROPIC, "anthropic-version": "1"})[0] == 400
    asked.plan(empty_days=[str(DAY)])
    assert asked.get(COSTS, OPENAI)["data"][0]["results"] == []
    asked.plan()
    assert asked.send("GET", COSTS, OPENAI)[2] == before


def test_connections_break_where_the_plan_says(asked: Asked) -> None:
    whole = asked.send("GET", COSTS, OPENAI)[2]
    asked.plan(script=[{"path": "costs", "kind": kind} for kind in ("dropped", "reset", "truncated")])
    with pytest.raises(ConnectionResetError):
        asked.send("GET", COSTS, OPENAI)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        asked.send("GET", COSTS, OPENAI)
    status, headers, body = asked.send("GET", COSTS, OPENAI)
    assert (status, int(headers["content-length"])) == (200, len(body))
    assert whole.startswith(body)
    assert 0 < len(body) < len(whole)
    assert asked.send("GET", COSTS, OPENAI)[2] == whole


def test_the_log_shows_what_came_without_secrets(asked: Asked) -> None:
    asked.plan(script=[{"path": "cost_report", "kind": "dropped"}])
    with pytest.raises(ConnectionResetError):
        asked.send("GET", REPORT, {**ANTHROPIC, "user-agent": "me/1"})
    asked.send("GET", f"{COSTS}&key={OPENAI_KEY}", OPENAI)
    told = asked.get("/_simulator/requests")
    assert (told["openai"]["count"], told["anthropic"]["count"]) == (1, 1)
    broken, refused = told["requests"]
    assert (broken["status"], broken["fault"], broken["headers"]["user-agent"]) == (None, "dropped", "me/1")
    assert (broken["path"], broken["headers"]["x-api-key"]) == ("/v1/organizations/cost_report", "(secret)")
    assert (refused["status"], refused["fault"], refused["headers"]["authorization"]) == (400, None, "(secret)")
    for secret in (OPENAI_KEY, ANTHROPIC_KEY):
        assert secret not in json.dumps(told)


def test_latency_holds_nobody_else_up(asked: Asked) -> None:
    asked.send("GET", COSTS, OPENAI)  # what is made once
    asked.plan(latency_ms=300)
    threads = [threading.Thread(target=asked.send, args=("GET", COSTS, OPENAI)) for _ in range(20)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.3 <= time.monotonic() - began < 20 * 0.3 / 2
    assert asked.get("/_simulator/requests")["openai"]["max_concurrency"] > 10


def test_only_get_is_allowed_and_nothing_is_elsewhere(asked: Asked) -> None:
    assert asked.send("POST", COSTS, OPENAI)[0] == 405
    assert asked.send("GET", "/v1/organization/costs", OPENAI)[0] == 404
    assert asked.send("GET", "/openai/v1/models", OPENAI)[0] == 404


def test_in_process_simulators_are_ready_at_once_and_leave_nothing() -> None:
    moment = datetime(2026, 10, 6, tzinfo=UTC)
    began = time.monotonic()
    with start_simulators(seed=SEED, now=lambda: moment, latency_ms=1) as sims:
        assert time.monotonic() - began < 0.3
        asked = Asked(int(sims.url.rpartition(":")[2]))
        (bucket,) = asked.get(COSTS, OPENAI)["data"]
        known = sims.truth("openai", DAY, DAY, group_by=())
        assert known.rows == truth(World(SEED), "openai", OPENAI_KEY, DAY, DAY, group_by=()).rows
        assert float(bucket["results"][0]["amount"]["value"]) == pytest.approx(float(known.total("costs", "amount")))
        assert (sims.count("openai"), sims.max_concurrency("openai"), len(sims.requests)) == (1, 1, 1)
        sims.plan(faults={"500": 1})
        assert asked.send("GET", REPORT, ANTHROPIC)[0] == 500
        sims.reset()
        assert sims.requests == []
        with (
            pytest.raises(LocalError, match=f"can't listen on 127.0.0.1:{asked.port}"),
            start_simulators(port=asked.port),
        ):
            pass
    with pytest.raises(ConnectionRefusedError):
        asked.send("GET", COSTS)
    assert "simulators" not in {thread.name for thread in threading.enumerate()}


def test_they_listen_for_others_only_where_the_services_are_told_to() -> None:
    command = [sys.executable, "-m", "pipeline_local.simulators", "--host=0.0.0.0", "--port=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 64
    assert "expected an address of the loopback interface, such as 127.0.0.1, not 0.0.0.0" in done.stderr
    refuse_strangers("0.0.0.0", "0.0.0.0")
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        refuse_strangers(host, None)
    with pytest.raises(LocalError, match="PIPELINES_DEV_HOST"):
        refuse_strangers("192.0.2.1", "0.0.0.0")
