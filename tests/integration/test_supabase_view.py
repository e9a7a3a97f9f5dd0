"""Another system's subscriptions, through a view made as docs/quota.md says: limits hold, and nothing is written."""

import re
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.admission.quota import ConcurrentLimitReachedError, DailyLimitReachedError
from pipeline_core.admission.subscription import Limits, Subscription, SubscriptionInactiveError
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.migrate import migrate
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.recompute import drift
from pipeline_core.store.subscriptions import Subscriptions
from pipeline_local.services.postgres import start_postgres
from pipeline_local.services.postgres_cluster import USER, _statement, prepare, usable_binaries
from pipeline_local.services.processes import server_identity
from support.databases import fresh_database
from support.runs import new_run

DOCS = Path(__file__).parents[2] / "docs" / "quota.md"
ROLE = "pipelines_operator"
ELSEWHERE = "org_subscriptions is a view: change the subscription where it comes from"
# Another system's tables, with ids, words and names of its own.
FOREIGN = """
    CREATE TYPE subscription_status AS ENUM ('active', 'trialing', 'past_due', 'suspended');
    CREATE TABLE plans (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL UNIQUE,
        pipelines_per_day bigint, pipelines_per_month bigint, concurrent_pipelines bigint
    );
    CREATE TABLE organizations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), slug text NOT NULL UNIQUE);
    CREATE TABLE subscriptions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), organization_id uuid NOT NULL UNIQUE REFERENCES organizations,
        plan_id uuid NOT NULL REFERENCES plans, status subscription_status NOT NULL
    );
    INSERT INTO organizations (slug) VALUES ('acme'), ('globex');
    INSERT INTO plans (name, pipelines_per_day, pipelines_per_month, concurrent_pipelines)
        VALUES ('professional', 3, 50, 2), ('unlimited_by_mistake', NULL, NULL, NULL);
    INSERT INTO subscriptions (organization_id, plan_id, status)
        SELECT o.id, p.id, 'active' FROM organizations o, plans p WHERE o.slug = 'acme' AND p.name = 'professional';
"""


def blocks() -> list[str]:
    """The SQL that the page tells an administrator to run, in its order."""
    return re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A server whose administrator may make roles and isn't its superuser, as with Supabase."""
    with tempfile.TemporaryDirectory(prefix="pipelines-postgres-") as folder:
        data = Path(folder)
        data.chmod(0o755)  # the server's own user has to reach it
        identity = server_identity()
        binaries = usable_binaries(identity, data)
        cluster = prepare(data, "", binaries=binaries, identity=identity)
        _statement(f"ALTER ROLE {USER} CREATEROLE", cluster, binaries, identity)
        with start_postgres(data, durable=False) as server:
            (cluster / "pg_hba.conf").write_text("host all all all scram-sha-256\n")
            server.process.send_signal(signal.SIGHUP)
            yield server.url


@pytest.fixture
def administrator(server_url: str) -> Iterator[psycopg.Connection]:
    """In a database with another system's tables."""
    with (
        fresh_database(server_url, template=None) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute(FOREIGN)
        yield connection


@pytest.fixture
def role_url(administrator: psycopg.Connection) -> Iterator[str]:
    """The address of the database, set up as the page says, for the role that it makes."""
    before, view = blocks()
    administrator.execute(before)
    role, password = sql.Identifier(ROLE), secrets.token_hex(16)
    try:
        administrator.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))
        there = administrator.info
        url = f"postgresql://{ROLE}:{password}@{there.host}:{there.port}/{there.dbname}"
        migrate(url, wait_seconds=30)  # the server takes a moment to know that others may come in
        administrator.execute(view)
        yield url
    finally:
        administrator.execute("ROLLBACK")
        administrator.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
        administrator.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture
async def role(role_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(role_url)
    for org in ("acme", "globex"):
        await Organizations(engine).create(org)
    yield engine
    await engine.dispose()


async def test_limits_of_the_other_system_hold(role: AsyncEngine, administrator: psycopg.Connection) -> None:
    ledger = QuotaLedger(role)
    for number in (1, 2):
        await ledger.reserve(new_run(f"run_{number}"))
    with pytest.raises(ConcurrentLimitReachedError, match=re.escape("Concurrent pipeline limit (2) reached")):
        await ledger.reserve(new_run("run_3"))
    assert await ledger.room(["acme"]) == {}
    administrator.execute("UPDATE plans SET concurrent_pipelines = 10")
    await ledger.reserve(new_run("run_3"))
    with pytest.raises(DailyLimitReachedError, match=re.escape("Daily pipeline limit (3) reached")):
        await ledger.reserve(new_run("run_4"))
    assert (await ledger.standing("acme")).limits == Limits(3, 50, 10)
    assert await drift(role) == []


async def test_words_of_the_other_system_are_understood(role: AsyncEngine, administrator: psycopg.Connection) -> None:
    ledger = QuotaLedger(role)
    assert await Subscriptions(role).get("acme") == Subscription("acme", "ACTIVE", Limits(3, 50, 2), "professional")
    assert await Subscriptions(role).get("globex") is None
    administrator.execute("UPDATE subscriptions SET status = 'trialing'")
    assert (await AdmissionFacts(role).get("acme", "gcp")).subscription_status == "TRIAL"
    await ledger.reserve(new_run("run_1"))
    administrator.execute("UPDATE subscriptions SET status = 'past_due'")
    with pytest.raises(SubscriptionInactiveError, match="not allowed for PAST_DUE organizations"):
        await ledger.reserve(new_run("run_2"))
    with pytest.raises(SubscriptionInactiveError, match="Organization globex has no subscription"):
        await ledger.reserve(new_run("run_3", org_slug="globex"))


async def test_a_plan_without_limits_allows_nothing(role: AsyncEngine, administrator: psycopg.Connection) -> None:
    administrator.execute("UPDATE subscriptions SET plan_id = (SELECT id FROM plans WHERE name LIKE 'unlimited%')")
    with pytest.raises(DailyLimitReachedError, match=re.escape("Daily pipeline limit (not set) reached")):
        await QuotaLedger(role).reserve(new_run("run_1"))


async def test_the_role_reaches_nothing_else(role: AsyncEngine) -> None:
    for table in ("subscriptions", "plans", "organizations"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with transaction(role) as connection:
                await connection.exec_driver_sql(f"SELECT * FROM public.{table}")


@pytest.mark.parametrize("given", [("--per-day", "9"), ("--per-day", "9", "--per-month", "9", "--concurrent", "9")])
def test_the_command_says_where_to_change_it(
    role_url: str, monkeypatch: pytest.MonkeyPatch, administrator: psycopg.Connection, given: tuple[str, ...]
) -> None:
    administrator.execute("INSERT INTO pipelines.organizations (org_slug) VALUES ('acme')")
    monkeypatch.setenv("PIPELINES_DATABASE_URL", role_url)
    result = CliRunner().invoke(app, ["subscription", "set", "acme", *given])
    assert (result.exit_code, result.output) == (78, f"{ELSEWHERE}\n")
    assert "professional" in CliRunner().invoke(app, ["subscription", "show", "acme"]).output


def test_a_table_of_the_same_name_in_the_same_schema_stops_the_upgrade(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE org_subscriptions (id uuid)")
        with pytest.raises(ProgrammingError, match='relation "org_subscriptions" already exists'):
            migrate(empty_database_url)
        assert connection.execute("SELECT to_regclass('organizations')").fetchone() == (None,)
