"""Many clients at the same moment, over two processes' worth of bridge: each limit holds, and each key is one run."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_bridge.app import make_app
from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.parts import Parts
from pipeline_bridge.placement import Placement
from pipeline_core.api_keys import Scope, make_key
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.store.api_keys import ApiKeys
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.idempotency import IdempotencyKeys
from pipeline_core.store.integrations import Integrations
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from support.bridge import PEPPER, app_client, settings
from support.fake_kubernetes import FakeKubernetes
from support.fake_ledger import SETTINGS
from support.operator_world import CATALOG
from support.quota import counted, organization, plan

PATH = "/api/v1/pipelines/run/acme/gcp/cost/billing"
POSTS = 100


class Bridges:
    """Two processes of the bridge, with one PostgreSQL and one API server."""

    def __init__(
        self, engines: list[AsyncEngine], clients: list[httpx2.AsyncClient], kubernetes: FakeKubernetes
    ) -> None:
        self.engine = engines[0]
        self.kubernetes = kubernetes
        self._clients = clients

    async def post(self, count: int, **options: Any) -> list[httpx2.Response]:
        """So many requests at once, every second one to the other process; `{}` in the key is the request's number."""
        return await asyncio.gather(*(self._clients[number % 2].post(PATH, **options) for number in range(count)))

    def made(self) -> list[str]:
        """The ids of the PipelineRuns that are there."""
        return [
            body["spec"]["runId"]
            for (plural, _, _), body in self.kubernetes.objects.items()
            if plural == "pipelineruns"
        ]

    async def recorded(self) -> list[str]:
        async with transaction(self.engine) as connection:
            return list((await connection.execute(text("SELECT run_id FROM run_record"))).scalars())


def parts_of(engine: AsyncEngine, kubernetes: FakeKubernetes) -> Parts:
    chosen = settings(requests_per_minute=100_000, api_key_pepper=SecretStr(PEPPER))
    cluster = BridgeCluster(kubernetes)  # type: ignore[arg-type]
    return Parts(
        settings=chosen,
        catalog=CATALOG,
        facts=AdmissionFacts(engine),
        ledger=QuotaLedger(engine),
        records=RunRecords(engine),
        keys=ApiKeys(engine),
        idempotency=IdempotencyKeys(engine),
        cluster=cluster,
        placement=Placement(cluster, chosen),
    )


@pytest.fixture
async def bridges(database_url: str) -> AsyncIterator[Bridges]:
    """They serve acme, which has no limits to speak of."""
    kubernetes = FakeKubernetes()
    key = make_key(PEPPER.encode())
    async with AsyncExitStack() as stack:
        engines = [create_engine(database_url), create_engine(database_url)]
        for engine in engines:
            stack.push_async_callback(engine.dispose)
        await organization(engines[0], "acme")
        await Integrations(engines[0]).set("acme", "gcp", SETTINGS)
        await ApiKeys(engines[0]).create("acme", name="t", scopes={Scope.RUN}, digest=key.digest, key_id=key.key_id)
        clients = [
            await stack.enter_async_context(app_client(make_app(parts_of(engine, kubernetes)), key.text))
            for engine in engines
        ]
        yield Bridges(engines, clients, kubernetes)


async def test_ten_of_a_hundred_get_in_where_ten_may_in_a_day(bridges: Bridges) -> None:
    await plan(bridges.engine, "acme", per_day=10)
    answers = await bridges.post(POSTS)
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 90}
    started = {answer.json()["run_id"] for answer in answers if answer.status_code == 200}
    assert set(bridges.made()) == set(await bridges.recorded()) == started
    assert len(started) == 10
    assert (await counted(bridges.engine))["acme"].day_used == 10
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["detail"] == "Daily pipeline limit (10) reached"
            assert answer.headers["X-Quota-Limit"] == "daily"
            assert answer.headers["X-Quota-Remaining-Daily"] == "0"
            assert 0 < int(answer.headers["Retry-After"]) <= 86_400


async def test_a_concurrent_limit_holds_as_well(bridges: Bridges) -> None:
    await plan(bridges.engine, "acme", concurrent=7)
    answers = await bridges.post(POSTS)
    assert Counter(answer.status_code for answer in answers) == {200: 7, 429: POSTS - 7}
    assert len(bridges.made()) == 7
    assert (await counted(bridges.engine))["acme"].concurrent == 7


async def test_one_key_fifty_times_at_once_is_one_run(bridges: Bridges) -> None:
    answers = await bridges.post(50, json={"date": "2026-11-20"}, headers={"Idempotency-Key": "nightly"})
    assert {answer.status_code for answer in answers} == {200}
    (run_id,) = {answer.json()["run_id"] for answer in answers}
    assert bridges.made() == await bridges.recorded() == [run_id]
    assert (await counted(bridges.engine))["acme"].day_used == 1
    for answer in await bridges.post(2, json={"date": "2026-11-19"}, headers={"Idempotency-Key": "nightly"}):
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:pipelines:problem:idempotency-key-reused")
    assert bridges.made() == [run_id]


async def test_one_key_gets_the_last_slot_once(bridges: Bridges) -> None:
    await plan(bridges.engine, "acme", per_day=1, concurrent=1)
    answers = await bridges.post(50, headers={"Idempotency-Key": "nightly"})
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["run_id"] for answer in answers}) == len(bridges.made()) == 1


async def test_one_key_is_one_run_where_kubernetes_loses_every_other_answer(bridges: Bridges) -> None:
    count = 0

    def lose(method: str, _path: str) -> None:
        nonlocal count
        count += method == "POST"
        if count % 2:
            raise KubeUnavailableError("no answer")

    bridges.kubernetes.before = bridges.kubernetes.after = lose
    answers = await bridges.post(50, headers={"Idempotency-Key": "nightly"})
    assert {answer.status_code for answer in answers} <= {200, 503}
    bridges.kubernetes.before = bridges.kubernetes.after = lambda _method, _path: None
    answers += await bridges.post(2, headers={"Idempotency-Key": "nightly"})
    told = {answer.json()["run_id"] for answer in answers}
    assert told == set(bridges.made()) == set(await bridges.recorded())
    assert len(told) == 1


async def test_a_key_whose_run_was_never_made_is_one_other_run(bridges: Bridges) -> None:
    """Healing has ended it; fifty requests come at once then."""

    def away(_method: str, _path: str) -> None:
        raise KubeUnavailableError("no answer")

    bridges.kubernetes.before = away
    (answer,) = await bridges.post(1, headers={"Idempotency-Key": "nightly"})
    assert answer.status_code == 503
    ledger = QuotaLedger(bridges.engine)
    (slot,) = await ledger.held()
    assert await ledger.end_unmade(slot, at=slot.reserved_at, message="never made")
    bridges.kubernetes.before = lambda _method, _path: None
    answers = await bridges.post(50, headers={"Idempotency-Key": "nightly"})
    (run_id,) = {answer.json()["run_id"] for answer in answers}
    assert run_id != slot.run_id
    assert bridges.made() == [run_id]
    usage = (await counted(bridges.engine))["acme"]
    assert (usage.day_used, usage.concurrent) == (1, 1)


async def test_requests_that_kubernetes_refuses_hold_nothing_whatever_keys_they_have(bridges: Bridges) -> None:
    await plan(bridges.engine, "acme", concurrent=3)

    def refuse(method: str, _path: str) -> None:
        if method == "POST":
            raise KubeError(403, "Forbidden", "exceeded quota: runs")

    bridges.kubernetes.before = refuse
    for number in range(6):
        answers = await bridges.post(2, headers={"Idempotency-Key": f"key-{number}"})
        assert {answer.status_code for answer in answers} == {422}
    usage = (await counted(bridges.engine))["acme"]
    assert (usage.day_used, usage.concurrent) == (0, 0)
    bridges.kubernetes.before = lambda _method, _path: None
    answers = await bridges.post(2, headers={"Idempotency-Key": "key-0"})
    assert {answer.status_code for answer in answers} == {200}
    assert bridges.made() == [answers[0].json()["run_id"]]


async def test_requests_with_keys_of_their_own_are_runs_of_their_own(bridges: Bridges) -> None:
    found = await asyncio.gather(
        *(bridges.post(2, headers={"Idempotency-Key": f"key-{number}"}) for number in range(20))
    )
    told = [{answer.json()["run_id"] for answer in answers} for answers in found]
    assert all(len(each) == 1 for each in told)
    assert len(set().union(*told)) == len(bridges.made()) == 20
