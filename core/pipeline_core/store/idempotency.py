"""The keys with which clients repeat a request: each stands for one run of one organization, for 24 hours."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.engine import transaction
from pipeline_core.store.errors import IdempotencyKeyReusedError

# Whoever comes second waits for the first one's commit, then meets its row: ON CONFLICT DO UPDATE locks the row and
# returns it as it is by then, whatever the statement's snapshot shows. A row that stays is written as it was, which is
# what makes it be returned. `excluded.created_at` is one moment, worked out once: all columns are replaced, or none.
_BIND = text(
    """
    INSERT INTO idempotency_key AS stored (org_slug, key, fingerprint, run_id, created_at)
    VALUES (:org_slug, :key, :fingerprint, :run_id, clock_timestamp())
    ON CONFLICT (org_slug, key) DO UPDATE SET
        fingerprint = CASE WHEN stored.created_at <= excluded.created_at - interval '24 hours'
            THEN excluded.fingerprint ELSE stored.fingerprint END,
        run_id = CASE WHEN stored.created_at <= excluded.created_at - interval '24 hours'
            THEN excluded.run_id ELSE stored.run_id END,
        created_at = CASE WHEN stored.created_at <= excluded.created_at - interval '24 hours'
            THEN excluded.created_at ELSE stored.created_at END
    RETURNING fingerprint, run_id
    """
)
_FIND = text(
    """
    SELECT fingerprint, run_id FROM idempotency_key
    WHERE org_slug = :org_slug AND key = :key AND created_at > clock_timestamp() - interval '24 hours'
    """
)
_REBIND = text(
    """
    UPDATE idempotency_key SET run_id = CASE WHEN run_id = :from_run_id THEN :to_run_id ELSE run_id END
    WHERE org_slug = :org_slug AND key = :key AND fingerprint = :fingerprint
        AND created_at > clock_timestamp() - interval '24 hours'
    RETURNING run_id
    """
)
_PRUNE = text(
    """
    DELETE FROM idempotency_key WHERE (org_slug, key) IN (
        SELECT org_slug, key FROM idempotency_key
        WHERE created_at <= clock_timestamp() - interval '24 hours'
        ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)


class IdempotencyKeys:
    """Reads and writes `idempotency_key`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def bind(self, org_slug: str, key: str, fingerprint: bytes, run_id: str) -> str:
        """The id of the run that the organization's key stands for: `run_id` if the key is new, or 24 hours old.

        `fingerprint` tells requests apart. However many ask at once, all are answered with the same run.

        Raises IdempotencyKeyReusedError if the key stands for another request, StoreUnavailableError when PostgreSQL is
        away: asking again is safe then.
        """
        given = {"org_slug": org_slug, "key": key, "fingerprint": fingerprint, "run_id": run_id}
        async with transaction(self._engine) as connection:
            bound = (await connection.execute(_BIND, given)).one()
        if bound.fingerprint != fingerprint:
            raise IdempotencyKeyReusedError(key)
        found: str = bound.run_id
        return found

    async def find(self, org_slug: str, key: str, fingerprint: bytes) -> str | None:
        """The id of the run that the organization's key stands for, None for a key that is new, or 24 hours old.

        Raises IdempotencyKeyReusedError and StoreUnavailableError as `bind` does.
        """
        async with transaction(self._engine) as connection:
            bound = (await connection.execute(_FIND, {"org_slug": org_slug, "key": key})).one_or_none()
        if bound is None:
            return None
        if bound.fingerprint != fingerprint:
            raise IdempotencyKeyReusedError(key)
        found: str = bound.run_id
        return found

    async def rebind(self, org_slug: str, key: str, fingerprint: bytes, *, from_run_id: str, to_run_id: str) -> str:
        """Have the key stand for another run, as the one that it stood for has come to nothing.

        Returns the run that it stands for now: another one still, where somebody else was faster. A key that has run
        out meanwhile is bound as a new one is. Raises what `bind` raises.
        """
        given = {
            "org_slug": org_slug,
            "key": key,
            "fingerprint": fingerprint,
            "from_run_id": from_run_id,
            "to_run_id": to_run_id,
        }
        async with transaction(self._engine) as connection:
            bound: str | None = (await connection.execute(_REBIND, given)).scalar_one_or_none()
        return bound if bound is not None else await self.bind(org_slug, key, fingerprint, to_run_id)


async def prune_idempotency_keys(engine: AsyncEngine, *, limit: int = 1000, batches: int = 200) -> int:
    """Delete rows that are 24 hours old, which bind nothing any more, `limit` in a transaction; returns how many.

    There may be a row a request, so one batch may not be enough. Raises StoreUnavailableError when PostgreSQL is away.
    """
    pruned = 0
    for _ in range(batches):
        async with transaction(engine) as connection:
            batch = (await connection.execute(_PRUNE, {"limit": limit})).rowcount
        pruned += batch
        if batch < limit:
            break
    return pruned
