"""The keys of the HTTP API: whose they are, what they open, and until when; of their secrets, only digests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.api_keys import Scope, check_digest, check_key, check_key_id
from pipeline_core.store.engine import transaction
from pipeline_core.store.errors import ApiKeyEndedError, ApiKeyNotFoundError
from pipeline_core.store.grouping import Grouped
from pipeline_core.store.organizations import check_known
from pipeline_core.store.tables import api_key

_NOW = func.clock_timestamp().label("now")
_TIMES = ("created_at", "expires_at", "revoked_at", "last_used_at")
# Whoever holds a row is writing it, this time or another: nobody waits for the sake of a time of last use.
_USED = text(
    """
    UPDATE api_key SET last_used_at = clock_timestamp() WHERE key_id IN (
        SELECT key_id FROM api_key
        WHERE key_id = ANY(cast(:key_ids AS text[]))
            AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
        ORDER BY key_id FOR UPDATE SKIP LOCKED
    )
    """
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key of one organization; `replaced_by` is the id of the key that it was rotated to."""

    key_id: str
    org_slug: str
    name: str
    scopes: frozenset[Scope]
    digest: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    requests_per_minute: int | None = None
    replaced_by: str | None = None

    def is_active(self, now: datetime) -> bool:
        """Whether it opens anything at this time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Read a row of `api_key`."""
        times = {name: None if row[name] is None else row[name].astimezone(UTC) for name in _TIMES}
        plain = {column.name: row[column.name] for column in api_key.columns}
        return cls(**{**plain, **times, "scopes": frozenset(map(Scope, row["scopes"]))})


class ApiKeys:
    """Reads and writes `api_key`. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._got = Grouped(self._get, moment_seconds=0)

    async def get(self, key_id: str) -> ApiKey | None:
        """The key with this id, active or not."""
        return await self._got(key_id)

    async def _get(self, key_ids: Sequence[str]) -> list[ApiKey | None]:
        """Those of many requests that come at the same time."""
        query = select(api_key).where(api_key.c.key_id.in_(sorted(set(key_ids))))
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query)).mappings()
            found = {row["key_id"]: ApiKey.from_row(row) for row in rows}
        return [found.get(key_id) for key_id in key_ids]

    async def create(
        self,
        org_slug: str,
        *,
        name: str,
        scopes: Collection[Scope],
        digest: bytes,
        key_id: str,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
    ) -> ApiKey:
        """Store a new key of the organization, and return it.

        Raises OrganizationNotFoundError, and ValueError, naming the field, if a value isn't well formed.
        """
        check_key(org_slug, name, scopes, expires_at, requests_per_minute)
        check_key_id(key_id)
        check_digest(digest)
        values = {
            "key_id": key_id,
            "org_slug": org_slug,
            "name": name,
            "scopes": sorted(set(scopes)),
            "digest": digest,
            "expires_at": expires_at,
            "requests_per_minute": requests_per_minute,
        }
        async with transaction(self._engine) as connection:
            await check_known(connection, org_slug)
            return await _inserted(connection, values)

    async def list(self, org_slug: str | None = None) -> list[ApiKey]:
        """The organization's keys, or all, by organization and time; those that ended too."""
        query = select(api_key).order_by(api_key.c.org_slug, api_key.c.created_at, api_key.c.key_id)
        if org_slug is not None:
            query = query.where(api_key.c.org_slug == org_slug)
        async with transaction(self._engine) as connection:
            return [ApiKey.from_row(row) for row in (await connection.execute(query)).mappings()]

    async def rotate(self, key_id: str, *, new_key_id: str, digest: bytes, grace: timedelta) -> ApiKey:
        """Store a key that is what this one is, for as long as this one was to be, and let this one end after `grace`.

        A key that would have ended before still does. Returns the new key.

        Raises ApiKeyNotFoundError, ApiKeyEndedError if the key is revoked, expired or has been rotated, and ValueError
        if `grace` is less than nothing.
        """
        check_key_id(key_id)
        check_key_id(new_key_id)
        check_digest(digest)
        if grace < timedelta():
            raise ValueError(f"grace {grace}: expected a time from 0")
        async with transaction(self._engine) as connection:
            query = select(api_key, _NOW).where(api_key.c.key_id == key_id).with_for_update()
            row = (await connection.execute(query)).mappings().one_or_none()
            if row is None:
                raise ApiKeyNotFoundError(key_id)
            old, now = ApiKey.from_row(row), row[_NOW.name]
            _check_rotatable(old, now)
            new = {name: row[name] for name in ("org_slug", "name", "scopes", "requests_per_minute")}
            if old.expires_at is not None:
                new["expires_at"] = now + (old.expires_at - old.created_at)
            made = await _inserted(connection, {**new, "key_id": new_key_id, "digest": digest, "created_at": now})
            end = now + grace if old.expires_at is None else min(now + grace, old.expires_at)
            change = update(api_key).where(api_key.c.key_id == key_id)
            await connection.execute(change.values(expires_at=end, replaced_by=new_key_id))
            return made

    async def revoke(self, key_id: str) -> ApiKey:
        """End the key now, for good; one that was revoked before stays as it is. Raises ApiKeyNotFoundError."""
        check_key_id(key_id)
        statement = (
            update(api_key)
            .where(api_key.c.key_id == key_id)
            .values(revoked_at=func.coalesce(api_key.c.revoked_at, func.clock_timestamp()))
            .returning(api_key)
        )
        async with transaction(self._engine) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        if row is None:
            raise ApiKeyNotFoundError(key_id)
        return ApiKey.from_row(row)

    async def used(self, key_ids: Collection[str]) -> None:
        """Note that these keys were used just now, where the last use that is noted is more than a minute ago."""
        async with transaction(self._engine) as connection:
            await connection.execute(_USED, {"key_ids": sorted(set(key_ids))})


async def _inserted(connection: AsyncConnection, values: Mapping[str, object]) -> ApiKey:
    statement = insert(api_key).values(values).returning(api_key)
    return ApiKey.from_row((await connection.execute(statement)).mappings().one())


def _check_rotatable(key: ApiKey, now: datetime) -> None:
    if key.revoked_at is not None:
        raise ApiKeyEndedError(f"API key {key.key_id} is revoked: create another one instead")
    if key.replaced_by is not None:
        raise ApiKeyEndedError(f"API key {key.key_id} was rotated to {key.replaced_by}: rotate that one instead")
    if not key.is_active(now):
        raise ApiKeyEndedError(f"API key {key.key_id} has expired: create another one instead")
