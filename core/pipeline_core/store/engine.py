"""Connects to PostgreSQL in a way that works behind a transaction pooler.

A transaction pooler hands each transaction any server connection, so nothing may outlive a transaction: no prepared
statements, no SET, no session-level lock, no LISTEN, and no start-up options, which poolers refuse. Time limits are
therefore kept on the client: for each transaction, and for a peer that went silent by TCP's own timers.
"""

import asyncio
import select
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from sqlalchemy import URL, ClauseElement, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from pipeline_core.store.errors import StoreUnavailableError

# libpq's parameters: a server that vanished without a word is given up in about 30 s instead of hours.
CONNECT_ARGS: dict[str, object] = {
    "prepare_threshold": None,
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
# Dialect options: the hstore look-up is one more query for each connection, for a type that nothing uses.
DIALECT_ARGS: dict[str, object] = {"use_native_hstore": False}
_DIALECT = URL.create("postgresql+psycopg").get_dialect()

TRANSACTION_SECONDS = 15.0


def driver_url(url: str) -> URL:
    """The address for SQLAlchemy with the psycopg driver, from `postgresql://user:password@host:port/database`.

    Raises ValueError, without the address since it holds a password, if it isn't one of PostgreSQL.
    """
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError("the database's address isn't of the form postgresql://user:password@host:port/database")
    return parsed.set(drivername="postgresql+psycopg")


def create_engine(url: str, *, pool_size: int = 10, max_overflow: int = 0) -> AsyncEngine:
    """An engine with a pool of at most `pool_size + max_overflow` connections; it connects when first used.

    Overflowing connections are closed after each use: a burst would spend its time on connecting.

    Raises ValueError if `url` isn't an address of PostgreSQL.
    """
    engine = create_async_engine(
        driver_url(url),
        connect_args=CONNECT_ARGS,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=10,
        pool_recycle=1800,
        hide_parameters=True,  # values stay out of error messages
        **DIALECT_ARGS,
    )
    _replace_ended_sessions(engine)
    return engine


def _replace_ended_sessions(engine: AsyncEngine) -> None:
    """After a restart of the server the first caller meets a fresh connection, not an error.

    A server that ends a session says so, and an idle session has nothing else to say: only where there is something to
    read is the connection tried. SQLAlchemy's own way (pool_pre_ping) is a round trip more for each transaction.
    """

    @event.listens_for(engine.sync_engine, "checkout")
    def look(connection: DBAPIConnection, _record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        unread = select.poll()
        unread.register(connection.driver_connection.fileno(), select.POLLIN)
        if not unread.poll(0):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, seconds: float = TRANSACTION_SECONDS) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction, committed at the end, within `seconds` in all.

    Raises StoreUnavailableError where trying again later may work; the caller can't know then whether the transaction
    was committed. Other errors of the database are defects and pass through.
    """
    async with _available(seconds), engine.begin() as connection:
        yield connection


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for one statement that reads, which is a transaction by itself: two round trips less.

    Raises as `transaction` does.
    """
    async with _available(TRANSACTION_SECONDS), engine.connect() as connection:
        driver = await _driver(connection)
        # Not by SQLAlchemy's isolation level: to take it back it would set another one.
        await driver.set_autocommit(True)
        try:
            yield connection
        finally:
            if driver.info.transaction_status is TransactionStatus.IDLE:
                await driver.set_autocommit(False)
            else:  # cut off in the middle of the statement
                await connection.invalidate()


@asynccontextmanager
async def _available(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise  # the caller's own, raised within the block
        raise StoreUnavailableError(f"PostgreSQL didn't answer within {seconds:g} s") from error
    except PoolTimeoutError as error:
        raise StoreUnavailableError("all connections to PostgreSQL are in use") from error
    except DBAPIError as error:
        if not is_unavailability(error):
            raise
        raise StoreUnavailableError(f"PostgreSQL is unavailable: {first_line(error)}") from error


def compiled(statement: ClauseElement) -> str:
    """The text of a statement, for `fetch`."""
    return str(statement.compile(dialect=_DIALECT()))


async def fetch(connection: AsyncConnection, statement: str, given: Mapping[str, object]) -> list[dict[str, Any]]:
    """The rows of a statement as psycopg takes it (`%(name)s`), in the connection's transaction.

    For what is run most: SQLAlchemy takes as much CPU to have a statement run and its rows read as psycopg itself does.
    Raises DBAPIError, as SQLAlchemy does.
    """
    driver = await _driver(connection)
    try:
        cursor = await driver.cursor(row_factory=dict_row).execute(statement, given)
        return await cursor.fetchall()
    except psycopg.Error as error:
        if is_lost := driver.closed:
            await connection.invalidate()
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=is_lost
        ) from error
    except asyncio.CancelledError:  # cut off in the middle of the statement
        await connection.invalidate()
        raise


async def _driver(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    return cast("psycopg.AsyncConnection[Any]", (await connection.get_raw_connection()).driver_connection)


def is_unavailability(error: DBAPIError) -> bool:
    """Whether the server's state is the cause, not the statement: refused, shutting down, deadlock, cancelled, full."""
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def first_line(error: DBAPIError) -> str:
    """The driver's message without statement, parameters and hints; libpq never puts a password in it."""
    return str(error.orig).strip().split("\n", 1)[0]
