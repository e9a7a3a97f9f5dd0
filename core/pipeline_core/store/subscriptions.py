"""The subscriptions of organizations: status, plan and limits.

Only `pipelines subscription set` writes them. Where `org_subscriptions` is a view on another system's tables, that
system owns them, and nothing is written here.
"""

from collections.abc import Mapping

from sqlalchemy import RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.admission.subscription import Limits, Subscription
from pipeline_core.errors import PipelinesError
from pipeline_core.store.engine import transaction
from pipeline_core.store.organizations import check_known
from pipeline_core.store.tables import org_subscriptions

STATUSES = ("ACTIVE", "TRIAL", "SUSPENDED", "CANCELLED", "EXPIRED")
"""Those that can be set here; another system's view may have others, which allow no run."""

_LIMIT_MAX = 2**31 - 1
_LIMITS = {
    "per_day": "pipelines_per_day_limit",
    "per_month": "pipelines_per_month_limit",
    "concurrent": "concurrent_pipelines_limit",
}
# Another system's view has these columns, and need not have more.
_COLUMNS = tuple(org_subscriptions.c[name] for name in ("org_slug", "status", "plan", *_LIMITS.values()))
# The kinds of relation that rows can be written to: a table, and a partitioned one.
_IS_TABLE = text("SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass('org_subscriptions')")


class SubscriptionsElsewhereError(PipelinesError):
    """Another system owns the subscriptions; this one only reads them."""

    reason = "SubscriptionsElsewhere"

    def __init__(self) -> None:
        super().__init__("org_subscriptions is a view: change the subscription where it comes from")


class Subscriptions:
    """Reads and writes `org_subscriptions`. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, org_slug: str) -> Subscription | None:
        """The organization's subscription; None where it has none. Raises OrganizationNotFoundError."""
        query = select(*_COLUMNS).where(org_subscriptions.c.org_slug == org_slug)
        async with transaction(self._engine) as connection:
            await check_known(connection, org_slug)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _from_row(row)

    async def set(
        self,
        org_slug: str,
        *,
        status: str | None = None,
        plan: str | None = None,
        per_day: int | None = None,
        per_month: int | None = None,
        concurrent: int | None = None,
    ) -> Subscription:
        """Change what is given of the organization's subscription, and return it as it is then.

        A new one needs all three limits, and is ACTIVE unless said otherwise. A run that has its slot keeps it.
        Raises OrganizationNotFoundError, SubscriptionsElsewhereError, and ValueError, naming the field, if a value is
        wrong, a new subscription lacks a limit, or nothing is given.
        """
        limits = {"per_day": per_day, "per_month": per_month, "concurrent": concurrent}
        values = _checked(status, plan, limits)
        async with transaction(self._engine) as connection:
            await check_known(connection, org_slug)
            if not await connection.scalar(_IS_TABLE):
                raise SubscriptionsElsewhereError
            row = await _written(connection, org_slug, values)
        if row is None:
            missing = ", ".join(name.replace("_", " ") for name, limit in limits.items() if limit is None)
            raise ValueError(f"{org_slug} has no subscription yet, and a new one needs every limit; missing: {missing}")
        return _from_row(row)


async def _written(connection: AsyncConnection, org_slug: str, values: Mapping[str, object]) -> RowMapping | None:
    """The row as it is then; None where there was none and the values don't suffice for one."""
    changes = {**values, "updated_at": func.clock_timestamp()}
    if values.keys() >= set(_LIMITS.values()):
        statement = insert(org_subscriptions).values({"org_slug": org_slug, "status": "ACTIVE", **values})
        upsert = statement.on_conflict_do_update(index_elements=[org_subscriptions.c.org_slug], set_=changes)
        return (await connection.execute(upsert.returning(*_COLUMNS))).mappings().one()
    change = update(org_subscriptions).where(org_subscriptions.c.org_slug == org_slug).values(changes)
    return (await connection.execute(change.returning(*_COLUMNS))).mappings().one_or_none()


def _checked(status: str | None, plan: str | None, limits: Mapping[str, int | None]) -> dict[str, object]:
    """The columns to write."""
    values: dict[str, object] = {}
    if status is not None:
        if status.upper() not in STATUSES:
            raise ValueError(f"status {status!r:.100}: expected one of {', '.join(STATUSES)}")
        values["status"] = status.upper()
    if plan is not None:
        if not (0 < len(plan) <= 100 and plan.isprintable()):
            raise ValueError(f"plan {plan!r:.100}: expected 1 to 100 printable characters")
        values["plan"] = plan
    for name, limit in limits.items():
        if limit is None:
            continue
        if not 0 <= limit <= _LIMIT_MAX:
            raise ValueError(f"{name} {limit}: expected a whole number from 0 to {_LIMIT_MAX}")
        values[_LIMITS[name]] = limit
    if not values:
        raise ValueError("nothing to change: expected a status, a plan or a limit")
    return values


def _from_row(row: RowMapping) -> Subscription:
    limits = Limits(**{name: row[column] for name, column in _LIMITS.items()})
    return Subscription(row["org_slug"], row["status"], limits, row["plan"])
