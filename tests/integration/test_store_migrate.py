"""Migrations: from nothing to the newest schema, again and at once without harm, the same as the tables in code."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, create_engine, inspect, text

from pipeline_core.store import migrate as migrate_module
from pipeline_core.store.engine import create_engine as create_async_engine
from pipeline_core.store.engine import driver_url
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.migrate import LOCK, VERSION_TABLE, main, migrate
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.tables import metadata
from pipeline_local.services.postgres import start_postgres
from pipeline_local.services.processes import free_port
from support.waiting import eventually

TABLES = {*metadata.tables, VERSION_TABLE}


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(driver_url(url))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def tables(url: str) -> set[str]:
    with connected(url) as connection:
        return set(inspect(connection).get_table_names())


def test_upgrading_and_upgrading_again(empty_database_url: str) -> None:
    said: list[str] = []
    migrate(empty_database_url, say=said.append)
    assert tables(empty_database_url) == TABLES
    migrate(empty_database_url, say=said.append)
    assert said == ["schema upgraded from nothing to 0007", "schema is up to date at 0007"]


async def test_a_second_waits_until_the_first_has_committed(empty_database_url: str) -> None:
    async def second_waits() -> bool:
        return bool(first.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall())

    said: list[str] = []
    with psycopg.connect(empty_database_url) as first:
        first.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        second = asyncio.create_task(asyncio.to_thread(migrate, empty_database_url, say=said.append))
        await eventually(second_waits)
        assert tables(empty_database_url) == set()
    await second
    assert said == ["schema upgraded from nothing to 0007"]


async def test_an_exporter_at_work_announces_what_it_sends_while_the_upgrade_waits(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgrade_to_0006(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrate_module.__file__).parent / "migrations"))
        config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
        command.upgrade(config, "0006")

    async def upgrade_waits() -> bool:
        with psycopg.connect(empty_database_url) as connection:
            return bool(connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall())

    with monkeypatch.context() as patch:
        patch.setattr(migrate_module, "_upgrade", upgrade_to_0006)
        migrate(empty_database_url)
    engine = create_async_engine(empty_database_url)
    async with Outbox(engine).turn() as turn:
        assert turn is not None
        # As the exporter of that version reads what was announced last.
        await turn._connection.execute(text("SELECT job_id FROM export_job"))
        upgrade = asyncio.create_task(asyncio.to_thread(migrate, empty_database_url))
        await eventually(upgrade_waits)
        with psycopg.connect(empty_database_url) as connection:
            connection.execute("SET lock_timeout = '2s'")
            connection.execute("INSERT INTO export_job (id, job_id) VALUES (1, 'job_1')")
        assert not upgrade.done()
    await upgrade
    await engine.dispose()
    assert tables(empty_database_url) == TABLES


def test_cut_off_midway_it_leaves_nothing_and_begins_again(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline_core.store import migrate as module

    def cut_off(connection: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        versions = iter(["nothing"])
        patch.setattr(module, "_version", lambda connection: next(versions, None) or cut_off(connection))
        with pytest.raises(KeyboardInterrupt):
            migrate(empty_database_url)
    assert tables(empty_database_url) == set()
    migrate(empty_database_url)
    assert tables(empty_database_url) == TABLES


def test_another_users_alembic_in_the_same_schema_is_left_alone(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num text)")
        connection.execute("INSERT INTO alembic_version VALUES ('theirs')")
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("theirs",)]


def test_the_migrated_schema_is_the_one_in_code(database_url: str) -> None:
    with connected(database_url) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []
        inspector = inspect(connection)
        for table in metadata.tables.values():
            in_code = {check.name for check in table.constraints if isinstance(check, CheckConstraint)}
            assert {check["name"] for check in inspector.get_check_constraints(table.name)} == in_code
        # Alembic compares indexes by their columns only: their conditions as well
        definitions = text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'run_record'")
        partial = {row.indexname for row in connection.execute(definitions) if "WHERE" in row.indexdef}
    indexes = metadata.tables["run_record"].indexes
    assert partial == {index.name for index in indexes if index.dialect_options["postgresql"]["where"] is not None}


def test_the_tables_are_closed_to_other_roles(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        exposed = connection.execute(f"{query} AND NOT relrowsecurity").fetchall()
    assert exposed == []


def test_it_waits_for_a_server_that_is_not_up_yet(tmp_path: Path) -> None:
    port, password = free_port(), "pass-word"
    said: list[str] = []
    stop = threading.Event()

    def come_up_late() -> None:
        while not said:  # it has found nobody there
            time.sleep(0.01)
        with start_postgres(port=port, password=password, durable=False):
            stop.wait(60)

    server = threading.Thread(target=come_up_late)
    server.start()
    try:
        migrate(f"postgresql://pipelines:{password}@127.0.0.1:{port}/pipelines", wait_seconds=60, say=said.append)
    finally:
        stop.set()
        server.join()
    assert said[0].startswith("waiting: PostgreSQL is unavailable")
    assert said[-1] == "schema upgraded from nothing to 0007"
    assert password not in "".join(said)


def test_it_gives_up_in_time() -> None:
    with pytest.raises(StoreUnavailableError):
        migrate(f"postgresql://u:p@127.0.0.1:{free_port()}/d", wait_seconds=0.1)


def test_the_command_says_what_it_did(empty_database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline_core.store.migrate"],
        env={**os.environ, "PIPELINES_DATABASE_URL": empty_database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "schema upgraded from nothing to 0007\n")


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("postgresql://u:s3cret-word@127.0.0.1:1/d", 1, "PostgreSQL is unavailable"),
        ("mysql://u:s3cret-word@h/d", 78, "PIPELINES_DATABASE_URL"),
        (None, 78, "PIPELINES_DATABASE_URL"),
    ],
)
def test_the_command_says_what_is_wrong_and_never_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str | None, status: int, said: str
) -> None:
    monkeypatch.setenv("PIPELINES_MIGRATE_WAIT_SECONDS", "0")
    monkeypatch.delenv("PIPELINES_DATABASE_URL", raising=False)
    if url:
        monkeypatch.setenv("PIPELINES_DATABASE_URL", url)
    assert main() == status
    printed = capsys.readouterr()
    assert said in printed.out
    assert "s3cret-word" not in printed.out + printed.err
