"""Brings the database's schema up to date: `python -m pipeline_core.store.migrate`.

It waits for the server, upgrades in one transaction under an advisory lock of that transaction, and is done: running
it again changes nothing, running two at once makes the second wait. There is no way down; a backup is.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from pydantic import Field, ValidationError
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from pipeline_core.settings import DatabaseSettings
from pipeline_core.store.engine import CONNECT_ARGS, DIALECT_ARGS, driver_url, first_line, is_unavailability
from pipeline_core.store.errors import StoreUnavailableError

# The schema may be shared with others who use Alembic as well, so this isn't its default, `alembic_version`.
VERSION_TABLE = "pipelines_schema_version"
# Any number, the same for all who migrate this database; these letters read "plmig".
LOCK = 0x706C6D6967
_MIGRATIONS = Path(__file__).parent / "migrations"
_RETRY_SECONDS = 0.5


class MigrateSettings(DatabaseSettings):
    """The database, and `PIPELINES_MIGRATE_WAIT_SECONDS`: how long to wait for it to come up."""

    migrate_wait_seconds: float = Field(default=180.0, ge=0)


def migrate(url: str, *, wait_seconds: float = 0.0, say: Callable[[str], object] = lambda _: None) -> None:
    """Upgrade the database at `url` to the newest schema, waiting up to `wait_seconds` for it to accept connections.

    Raises StoreUnavailableError when it doesn't in time, ValueError for an address that isn't PostgreSQL's.
    """
    engine = create_engine(driver_url(url), connect_args=CONNECT_ARGS, hide_parameters=True, **DIALECT_ARGS)
    try:
        _wait(engine, wait_seconds, say)
        with _unavailability(), engine.begin() as connection:
            # A lock of the transaction, so it works behind a pooler and ends with us however we end.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            before = _version(connection)
            _upgrade(connection)
            # crash here: the transaction is rolled back whole, and the next start does it again
            after = _version(connection)
    finally:
        engine.dispose()
    say(f"schema is up to date at {after}" if before == after else f"schema upgraded from {before} to {after}")


def _wait(engine: Engine, seconds: float, say: Callable[[str], object]) -> None:
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            with _unavailability(), engine.connect():
                return
        except StoreUnavailableError as error:
            if time.monotonic() >= deadline:
                raise
            if str(error) != said:
                said = str(error)
                say(f"waiting: {said}")
        time.sleep(_RETRY_SECONDS)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
    command.upgrade(config, "head")


def _version(connection: Connection) -> str:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision() or "nothing"


@contextmanager
def _unavailability() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if not is_unavailability(error):
            raise
        raise StoreUnavailableError(f"PostgreSQL is unavailable: {first_line(error)}") from error


def main() -> int:
    """Migrate as the environment says; returns 1 when the database isn't there in time, 78 for wrong settings."""
    try:
        settings = MigrateSettings()
        migrate(settings.database_url.get_secret_value(), wait_seconds=settings.migrate_wait_seconds, say=_print)
    except ValidationError as error:
        fields = ", ".join(f"PIPELINES_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        _print(f"wrong settings: {fields}")
        return 78
    except ValueError as error:
        _print(f"wrong settings: PIPELINES_DATABASE_URL: {error}")
        return 78
    except StoreUnavailableError as error:
        _print(str(error))
        return 1
    return 0


def _print(message: str) -> None:
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
